"""A folder in an object store: list, write, read and remove objects. pyarrow's filesystems do it.

An object is written whole or not at all, and never changed afterwards, leases apart. Not so under `file://`, where a
killed writer leaves a part: whoever reads compares with what a manifest says, or whether it can be parsed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from model.cache import sync
from sweep.errors import Problem, Refused, Unreachable
from sweep.files import STORAGE, disk_fault
from sweep.object_store.uri import endpoint_problems, place_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

T = TypeVar("T")

_BLOCK = 8 * 2**20
"""Bytes in memory at a time of a file on its way; pyarrow sends parts of 10 MB."""
_REFUSED = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "HTTP status 403",
    "PERMISSION_DENIED",
)
"""In pyarrow's messages, from the AWS SDK and from Google's."""
_EXPIRED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "(HTTP status 400) during Head")
"""An answer to HEAD has no words, so of an expired token only the number is told there."""
_NO_BUCKET = ("NO_SUCH_BUCKET", "Bucket '")
_RIGHTS = "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"


class StorageFault(Unreachable):
    """The store refuses what is asked, and will refuse it again."""


class StorageAway(StorageFault):
    """The store does not answer now; it may later."""


@dataclass(frozen=True)
class Stored:
    """An object: its name below the folder that was listed, its bytes, and when the store says that it was written."""

    name: str
    bytes: int
    written: float


@dataclass(frozen=True)
class Store:
    """A folder in a store, and what can be done there.

    Every method raises `StorageAway` where nothing answers, `StorageFault` where it is refused, FileNotFoundError where
    an object is not there, and another OSError where a disk is full or fails.
    """

    uri: str
    """Of the root, without a secret: for messages, and to open it elsewhere."""
    path: str
    filesystem: FileSystem

    def folder(self, *names: str) -> Store:
        return Store(self.uri, "/".join((self.path, *names)), self.filesystem)

    def objects(self) -> list[Stored]:
        """Every object below, in all folders; none where nothing is."""
        from pyarrow.fs import FileSelector, FileType

        with self._told():
            found = self.filesystem.get_file_info(FileSelector(self.path, recursive=True, allow_not_found=True))
        skipped = len(self.path) + 1
        return [
            Stored(each.path[skipped:], each.size, each.mtime_ns / 1e9) for each in found if each.type == FileType.File
        ]

    def folders(self) -> list[str]:
        """The names of the folders in this one."""
        from pyarrow.fs import FileSelector, FileType

        with self._told():
            found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(each.base_name for each in found if each.type == FileType.Directory)

    def has(self, name: str) -> bool:
        from pyarrow.fs import FileType

        with self._told():
            found = self.filesystem.get_file_info(f"{self.path}/{name}")
        return bool(found.type == FileType.File)

    def write(self, name: str, data: bytes) -> None:
        """Write an object; it is there when this returns."""
        self._send(name, iter((data,)))

    def upload(self, name: str, file: Path) -> tuple[int, str]:
        """Write a file as an object; its bytes and its sha256 (hex), both of what was sent."""
        digest, count = hashlib.sha256(), 0

        def blocks() -> Iterator[bytes]:
            nonlocal count
            with file.open("rb") as source:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    count += len(block)
                    yield block

        self._send(name, blocks())
        return count, digest.hexdigest()

    def _send(self, name: str, blocks: Iterator[bytes]) -> None:
        path = f"{self.path}/{name}"
        with self._told():
            if self._is_local:
                self.filesystem.create_dir(str(Path(path).parent), recursive=True)
            with self.filesystem.open_output_stream(path) as target:
                for block in blocks:
                    target.write(block)
            if self._is_local:
                sync(Path(path))
                sync(Path(path).parent)

    def read(self, name: str) -> bytes:
        """An object's content."""
        with self._told(), self.filesystem.open_input_stream(f"{self.path}/{name}") as source:
            return bytes(source.read())

    def download(self, name: str, file: Path) -> tuple[int, str]:
        """Write an object to a file, durably; its bytes and its sha256 (hex)."""
        digest, count = hashlib.sha256(), 0
        with (
            self._told(),
            self.filesystem.open_input_stream(f"{self.path}/{name}") as source,
            file.open("wb") as target,
        ):
            while block := source.read(_BLOCK):
                digest.update(block)
                count += target.write(block)
            target.flush()
            os.fsync(target.fileno())
        return count, digest.hexdigest()

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone already is no fault."""
        for name in names:
            with self._told(), _gone_already():
                self.filesystem.delete_file(f"{self.path}/{name}")

    def remove_all(self) -> None:
        """Remove everything below."""
        with self._told():
            self.filesystem.delete_dir_contents(self.path, missing_dir_ok=True)

    @property
    def place(self) -> str:
        """Where this is, for messages."""
        return f"{self.uri.partition(':')[0]}://{self.path}"

    @property
    def _is_local(self) -> bool:
        return self.uri.startswith("file://")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """pyarrow's OSErrors as this module's, in words for a person."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if disk_fault(error) is not None:  # waiting makes no room
                raise
            raise _fault(self.uri, str(error)) from error


def open_store(uri: str) -> Store:
    """The folder of a checked URI, which answers.

    Raises:
        StorageFault: there is no such bucket, or it may not be read.
        StorageAway: nothing answers.
    """
    from pyarrow.fs import FileType

    scheme, path, _ = place_of(uri)
    store = Store(uri, path, _filesystem(uri))
    top = path if scheme == "file" else path.partition("/")[0]
    with store._told():
        is_there = store.filesystem.get_file_info(top).type == FileType.Directory
    if is_there:
        return store
    if scheme == "file":  # made by itself, it would be on this node's own disk where a mount is missing
        problem = Problem(f"{STORAGE} has no folder {path}; it must be there, on every node", uri)
        raise StorageFault([problem], f"mount it, or mkdir -p {path}, then the same command")
    raise _fault(uri, f"{_NO_BUCKET[1]}{top}'")


def patiently(action: Callable[[], T], patience_s: float) -> T:
    """Do something in a store, again and again for so many seconds while it does not answer."""
    deadline, wait_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            return action()
        except StorageAway:
            if time.monotonic() + wait_s > deadline:
                raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 10.0)


def endpoint_of(uri: str) -> str:
    """Where a URI's store answers: for messages, and for S3 the address that the AWS tools' own variables name."""
    scheme, path, options = place_of(uri)
    if scheme != "s3":
        return uri
    return _given_endpoint(options) or f"AWS S3 for bucket {path.partition('/')[0]}"


def _given_endpoint(options: Mapping[str, str]) -> str | None:
    variables = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    return options.get("endpoint_override") or next(filter(None, variables), None)


@lru_cache(maxsize=8)
def _filesystem(uri: str) -> FileSystem:
    """Made by hand: pyarrow's `from_uri` takes no AWS_ENDPOINT_URL, and sends S3 a small object in three requests."""
    import pyarrow.fs as arrow

    scheme, path, options = place_of(uri)
    if scheme == "file":
        return arrow.LocalFileSystem()
    if scheme == "gs":
        from datetime import timedelta

        return arrow.GcsFileSystem(retry_time_limit=timedelta(seconds=30))  # its own is 15 minutes
    given = _given_endpoint(options)
    if given and (problems := endpoint_problems(given)):
        raise Refused(
            [Problem(problem, key="AWS_ENDPOINT_URL") for problem in problems],
            next="export AWS_ENDPOINT_URL=http://HOST:PORT, or unset it for AWS, then the same command",
        )
    endpoint = urlsplit(given if given and "://" in given else f"{options.get('scheme', 'https')}://{given}")
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    try:
        if region is None and given is None:
            region = arrow.resolve_s3_region(path.partition("/")[0])
        return arrow.S3FileSystem(
            region=region,
            scheme=endpoint.scheme,
            endpoint_override=endpoint.netloc if given else None,
            tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
            connect_timeout=5,
            request_timeout=60,
            allow_delayed_open=True,  # a small object in one request
        )
    except OSError as error:
        raise _fault(uri, str(error)) from error


def _fault(uri: str, said: str) -> StorageFault:
    scheme, path, _ = place_of(uri)
    bucket = path.partition("/")[0]
    if any(each in said for each in _REFUSED):
        keys = "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a user" if scheme == "s3" else "log in as one"
        problem, kind = f"{STORAGE} may not be used with these credentials", StorageFault
        next = f"{keys} with {_RIGHTS} on {bucket}, then the same command"
    elif any(each in said for each in _EXPIRED):
        problem, kind = f"{STORAGE} refuses these credentials: a session token that has expired?", StorageFault
        next = "export new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, see that AWS_REGION is that "
        next += f"of {bucket}, then the same command"
    elif any(each in said for each in _NO_BUCKET):
        problem, kind = f"{STORAGE} has no bucket {bucket!r} at {endpoint_of(uri)}", StorageFault
        next = "create it, or the same command with another --root"
    else:
        problem, kind = f"{STORAGE} does not answer at {endpoint_of(uri)}: {' '.join(said.split())[:300]}", StorageAway
        what = "AWS_ENDPOINT_URL, AWS_REGION and the network" if scheme == "s3" else "the network"
        next = f"check {'the mount' if scheme == 'file' else what}, then the same command"
    return kind([Problem(problem, uri)], next)


@contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return
