"""`SharedFolder`: a folder of this machine and its copy in an object store, as immutable numbered segments.

    FOLDER in the store/
        claim-000000000003                          somebody has begun to write under number 3
        manifest-000000000003-000012.json           the folder's whole content, the 12th under number 3
        object-000000000003-000012-0001             a large file of it; small texts are in the manifest itself

A manifest is written after its objects; the one with the highest (writer's number, sequence) is the folder. A writer
that is killed leaves objects that no manifest names, and the folder as it was. A writer gets a number that is higher
than all before it, so one that was cut off from the others and writes on under its old number changes nothing.

A newer writer keeps using an older one's objects (a checkpoint is large), which the older one must not remove then. So
who begins **claims** the folder and reads it **afterwards**; and who has written a manifest **looks for claims** before
it removes what that replaced. Either the older one sees the claim and removes nothing any more, or its manifest was
there before the claim, and is what the newer one reads.

Small texts are in the manifest because a row must be durable before it is reported: that is one object then, not three.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from sweep.errors import Problem
from sweep.files import STORAGE, read_json, write_json, write_whole
from sweep.object_store.names import Number, claim_name, manifest_name, manifests_among, object_name, parsed
from sweep.object_store.store import StorageFault, Store

Choose = Callable[[str], bool]
"""Whether a file is meant, by its path in the folder."""

FORMAT = 1
_TEXT_BYTES = 64 * 1024
"""Up to here a text is in the manifest."""


class Fenced(StorageFault):
    """A newer writer has claimed the folder."""


class DamagedError(StorageFault):
    """An object is not what its manifest says; the message names the file."""


class SharedFolder:
    """One folder and its copy.

    What this machine has of it, and of which manifest that was, is kept beside the files (`.NAME.json`): what has not
    changed is not read or sent again.

    Args:
        local: the folder here; made when there is something to put into it.
        store: its place in the store.
        only: the names of its files, texts of any size; empty: all that is not hidden, in its folders too. They may be
            others for a later push.
        but: names that are not among them.
    """

    def __init__(
        self, local: Path, store: Store, *, only: Collection[str] = (), but: Collection[str] = frozenset()
    ) -> None:
        self.local, self._store, self.only, self._but = local, store, only, but
        self._memory = local / f".{store.path.rpartition('/')[2]}.json"
        self.writer = 0
        self._number = self._tried = (0, 0)
        self._files: dict[str, dict[str, Any]] = {}
        self._here: dict[str, list[int]] = {}
        """Of each file that lies here as the manifest has it: size, and time of its last change in ns."""
        self._remember()

    def pull(self, wanted: Choose = lambda path: True, names: Sequence[str] | None = None) -> bool:
        """Bring `local` to the newest manifest. Files of it that are not wanted stay away, and go when they are old.

        Args:
            wanted: which files are needed here.
            names: what lies in the store, where the caller has listed it already.

        Returns:
            Whether there is such a folder in the store. If not, nothing of it is left here.

        Raises:
            DamagedError: what a manifest names is not there or altered.
        """
        manifests = manifests_among(self._names() if names is None else names)
        while True:
            try:
                return self._pull(wanted, manifests)
            except (FileNotFoundError, DamagedError) as error:
                before, manifests = manifests, manifests_among(self._names())
                if manifests == before:  # else a writer has replaced what was about to be read
                    raise error if isinstance(error, DamagedError) else self._damaged(str(error)) from error

    def _pull(self, wanted: Choose, manifests: Sequence[tuple[Number, str]]) -> bool:
        if not manifests or manifests[-1][0] != self._number:
            before = self._files
            self._number, self._files = self._newest(manifests)
            self._here = {path: at for path, at in self._here.items() if before.get(path) == self._files.get(path)}
        for path, entry in self._files.items():
            if wanted(path) and not self._is_here(path):
                self._get(path, entry)
        for path in list(self._scan()):
            if path not in self._files or not self._is_here(path):
                self._remove(path)
        self._here = {path: about for path, about in self._here.items() if path in self._files and self._is_here(path)}
        if self._number != (0, 0):
            self.local.mkdir(parents=True, exist_ok=True)
            self._note()
        return self._number != (0, 0)

    def _remove(self, path: str) -> None:
        (self.local / path).unlink(missing_ok=True)
        self._remove_empty(path)

    def _remove_empty(self, path: str) -> None:
        """The folders that were `path`'s alone: an empty one would be taken for a checkpoint, say."""
        for folder in PurePosixPath(path).parents[:-1]:
            with suppress(OSError):
                (self.local / folder).rmdir()

    def _newest(self, manifests: Sequence[tuple[Number, str]]) -> tuple[Number, dict[str, dict[str, Any]]]:
        """The newest manifest that is whole. Under file://, a killed writer may have left a part of one.

        What it was to replace is there still then: it is removed after.
        """
        for number, name in reversed(manifests):
            try:
                manifest = json.loads(self._store.read(name))
            except ValueError:
                continue
            except FileNotFoundError:
                if number == manifests[-1][0]:
                    raise
                continue
            if manifest["format"] > FORMAT:
                raise self._damaged(f"{name} has format {manifest['format']}; this program reads {FORMAT}")
            return number, manifest["files"]
        if manifests:
            raise self._damaged(f"{manifests[-1][1]} is no manifest")
        return (0, 0), {}

    def _get(self, path: str, entry: dict[str, Any]) -> None:
        file = self.local / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if "text" in entry:
            write_whole(file, entry["text"])
        else:
            part = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                count, digest = self._store.download(entry["object"], part)
                if (count, digest) != (entry["bytes"], entry["sha256"]):
                    raise self._damaged(
                        f"{path} has {count} bytes and sha256 {digest[:12]}…, not {entry['bytes']} and "
                        f"{entry['sha256'][:12]}… as its manifest says"
                    )
                part.replace(file)
            except FileNotFoundError as error:
                raise self._damaged(f"{path}, which its manifest names, is not there ({entry['object']})") from error
            finally:
                part.unlink(missing_ok=True)
                self._remove_empty(path)
        self._here[path] = _about(file)

    def write_as(self, writer: int) -> None:
        """Begin to write under a number that is higher than every earlier writer's; enough where all are texts."""
        self.writer = writer

    def claim(self, writer: int) -> None:
        """As `write_as`, and older writers remove nothing any more; `pull` afterwards."""
        self.write_as(writer)
        self._store.write(claim_name(writer), b"")

    def push(self) -> None:
        """Make the copy what `local` is; when this returns, it is durable. Nothing is sent that has not changed.

        Raises:
            Fenced: somebody has claimed the folder since; what was written changes nothing.
        """
        assert self.writer, "claim it first"
        files: dict[str, dict[str, Any]] = {}
        sequence = self._next_sequence()
        for path in self._scan():
            try:
                about = _about(self.local / path)
                is_same = path in self._files and self._here.get(path) == about
                files[path] = self._files[path] if is_same else self._put(path, sequence, len(files))
                self._here[path] = about
            except FileNotFoundError:
                continue  # replaced or removed by another thread in this moment
        self._publish(files, sequence)

    def highest_writer(self) -> int:
        """The highest number under which anybody has begun to write; 0 where nobody has."""
        return max((number[0] for _, number, _ in parsed(self._names())), default=0)

    def is_newest(self) -> bool:
        """Whether nobody has written since this writer did."""
        manifests = manifests_among(self._names())
        return bool(manifests) and manifests[-1][0] == self._number

    def has(self, chosen: Choose) -> bool:
        """Whether the manifest that was last read or written has such a file."""
        return any(chosen(path) for path in self._files)

    def drop(self, unwanted: Choose) -> None:
        """Take files out of the copy, whether or not they lie here; for who has claimed and pulled it.

        A manifest is written in any case: the folder is from then on what its last claimer read.
        """
        assert self.writer, "claim it first"
        kept = {path: entry for path, entry in self._files.items() if not unwanted(path)}
        self._publish(kept, self._next_sequence(), even_if_same=True)

    def confirm(self) -> None:
        """Make what was pulled this writer's own, for others to pull the same; for who has claimed and pulled it."""
        self.drop(lambda path: False)

    def _next_sequence(self) -> int:
        """One that was tried is not used again: its manifest may be there, though no answer came."""
        writer, sequence = max(self._number, self._tried)
        assert writer <= self.writer, "numbers only grow"
        self._tried = (self.writer, sequence + 1 if writer == self.writer else 1)
        return self._tried[1]

    def _put(self, path: str, sequence: int, place: int) -> dict[str, Any]:
        file = self.local / path
        if self.only:
            return {"text": file.read_text(encoding="utf-8", errors="replace")}
        if file.stat().st_size <= _TEXT_BYTES:
            with suppress(UnicodeDecodeError):
                return {"text": file.read_bytes().decode()}
        name = object_name((self.writer, sequence), place)
        count, digest = self._store.upload(name, file)
        return {"object": name, "bytes": count, "sha256": digest}

    def _publish(self, files: dict[str, dict[str, Any]], sequence: int, *, even_if_same: bool = False) -> None:
        if files == self._files and not even_if_same:
            return
        number = (self.writer, sequence)
        manifest = {"format": FORMAT, "files": files}
        self._store.write(manifest_name(number), (json.dumps(manifest, indent=1) + "\n").encode())
        self._number, self._files = number, files
        self._here = {path: about for path, about in self._here.items() if path in files}
        self._note()
        self._tidy()

    def _tidy(self) -> None:
        """Remove what the newest manifest has replaced, unless a newer writer may be reading it."""
        found = list(parsed(self._names()))
        if max(number[0] for _, number, _ in found) > self.writer:
            why = f"{STORAGE} has a newer writer for this folder; what this one writes counts no more"
            raise Fenced([Problem(why, self._store.place)], next="nothing: whoever took it over goes on")
        needed = {entry["object"] for entry in self._files.values() if "object" in entry}
        needed |= {manifest_name(self._number), claim_name(self.writer)}
        self._store.remove(name for _, number, name in found if name not in needed and number <= self._number)

    def _names(self) -> list[str]:
        return [each.name for each in self._store.objects()]

    def _scan(self) -> Iterator[str]:
        """This folder's files that lie here, by their paths in it, in order."""
        found = [self.local / name for name in self.only] if self.only else self.local.rglob("*")
        for file in sorted(found):
            path = file.relative_to(self.local)
            hidden = any(part.startswith(".") for part in path.parts)
            if not hidden and path.parts[0] not in self._but and file.is_file():
                yield path.as_posix()

    def _is_here(self, path: str) -> bool:
        try:
            return self._here.get(path) == _about(self.local / path)
        except FileNotFoundError:
            return False

    def _remember(self) -> None:
        if self._memory.exists():
            told = read_json(self._memory)
            self._number, self._files, self._here = tuple(told["number"]), told["files"], told["here"]

    def _note(self) -> None:
        write_json(self._memory, {"number": self._number, "files": self._files, "here": self._here})

    def _damaged(self, what: str) -> DamagedError:
        problem = Problem(f"{STORAGE} is damaged: {what}", self._store.place)
        return DamagedError([problem], next="restore the object from a copy, or stsweep run SPEC --name NEW")


def _about(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]
