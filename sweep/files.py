"""Files that are there whole or not at all, and logs whose last line may be torn."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from model.cache import sync
from sweep.errors import Problem, Refused

_DISK_FAULTS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)))

STORAGE = "the shared storage"
"""How a message begins that tells of a root at a URI (`sweep.object_store.store`)."""


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; NaN and infinity are a fault of ours (ValueError)."""
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote.

    Raises:
        Refused: the file is damaged.
    """
    return _parsed(path, path.read_text(encoding="utf-8", errors="replace"))


def append_json_line(path: Path, value: Any) -> None:
    """Append one line durably; it is on disk when this returns. A torn line of a killed writer is cut off first."""
    line = json.dumps(value, allow_nan=False) + "\n"
    is_new = not path.exists()
    with path.open("ab+") as file:
        _cut_torn_line(file)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync(path.parent)


def read_json_lines(path: Path) -> Iterator[Any]:
    """The whole lines of a log, in order; none where there is no file.

    Raises:
        Refused: a line is damaged.
    """
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
            yield _parsed(path, line)


def repair_lines(path: Path) -> None:
    """Cut off a torn last line of a log."""
    if path.exists():
        with path.open("rb+") as file:
            _cut_torn_line(file)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a lock file; filelock's own look would have to write."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def disk_fault(error: BaseException | str) -> str | None:
    """What was said of a disk that is full or fails, or of shared storage, in an error or one that it came of.

    None of another error.

    Known by the words: safetensors raises an error of its own with them, and Ray's hold tracebacks as text.
    """
    for words in _DISK_FAULTS:
        if words in str(error):
            return f"a disk's fault: {words}"
    if STORAGE in str(error):
        return STORAGE + str(error).partition(STORAGE)[2].partition("\n")[0]
    came_of = None if isinstance(error, str) else error.__cause__ or error.__context__
    return None if came_of is None else disk_fault(came_of)


def _cut_torn_line(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        # No writer of this program leaves a part of a file: a full disk, a copy that broke off, or an editor did.
        problem = Problem(f"damaged: {error}", str(path))
        raise Refused([problem], next="restore the file from a copy, or move the sweep's folder away") from None
