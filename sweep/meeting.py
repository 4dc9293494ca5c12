"""Where a driver and the nodes of a cluster leave words for one another: in what all of them are to share.

A path that exists on every node proves nothing: each may have a folder of its own there. So the driver writes a random
word, which every node must read, and every node writes one, which the driver must read. The same at a URI: file:// is a
path, and a bucket may be closed to a node, or be another one where its endpoint is.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.object_store.keys import secrets_here
from sweep.object_store.root import uri_of

if TYPE_CHECKING:
    from sweep.object_store.store import Store

DRIVER = "driver"


def _new_name() -> str:
    return f".shared-{secrets.token_hex(8)}"


def _new_word() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class FolderMeeting:
    """In a folder: a hidden folder, with a file for each word."""

    folder: Path
    name: str = field(default_factory=_new_name)
    remedy = "--root at a path that every node sees (NFS), or at a URI (s3://BUCKET/FOLDER)"

    @property
    def shared(self) -> str:
        return str(self.folder)

    def write(self, who: str) -> str:
        """Leave a new word, and return it."""
        word, place = _new_word(), self.folder / self.name
        place.mkdir(exist_ok=True)
        (place / who).write_text(word)
        return word

    def read(self, who: str) -> str | None:
        """Somebody's word; None where there is none."""
        with suppress(FileNotFoundError):
            return (self.folder / self.name / who).read_text()
        return None

    def is_there(self) -> bool:
        return self.folder.is_dir()

    def end(self, whose: Iterable[str]) -> None:
        """Remove all words."""
        shutil.rmtree(self.folder / self.name, ignore_errors=True)


@dataclass(frozen=True)
class StoreMeeting:
    """In a store, in the root itself: an object for each word. A folder would stay where the store is a disk."""

    shared: str
    """The root's URI."""
    keys: Mapping[str, str] = field(default_factory=secrets_here, repr=False)
    """What opens the store, if a node does not by itself."""
    name: str = field(default_factory=_new_name)

    @property
    def remedy(self) -> str:
        if self.shared.startswith("file://"):
            return "the same folder mounted there on every node, or --root at a bucket (s3://BUCKET/FOLDER)"
        return "every node needs a way to the store and, where it has no role of its own, the keys of this environment"

    def write(self, who: str) -> str:
        """Leave a new word, and return it.

        Raises:
            StorageFault: the store refuses, or does not answer; so in the other methods.
        """
        word = _new_word()
        self._store().write(f"{self.name}-{who}", word.encode())
        return word

    def read(self, who: str) -> str | None:
        """Somebody's word; None where there is none."""
        with suppress(FileNotFoundError):
            return self._store().read(f"{self.name}-{who}").decode()
        return None

    def is_there(self) -> bool:
        return True  # else `_store` says so

    def end(self, whose: Iterable[str]) -> None:
        """Remove all words."""
        self._store().remove(f"{self.name}-{who}" for who in whose)

    def _store(self) -> Store:
        from sweep.object_store.store import open_store

        os.environ.update(self.keys)
        return open_store(self.shared)


Meeting = FolderMeeting | StoreMeeting


def meeting_in(folder: Path) -> Meeting:
    """In a sweep's folder or a root; at its URI where it stands for one."""
    uri = uri_of(folder) or uri_of(folder.parent)
    return FolderMeeting(folder) if uri is None else StoreMeeting(uri)


def visit(meeting: Meeting, word: str, who: str) -> tuple[str | None, str | None]:
    """On a node: read the driver's word, and write one.

    Returns:
        What is wrong with what should be shared, and the word that was written: one of the two is None.
    """
    from sweep.object_store.store import StorageFault

    try:
        if not meeting.is_there():
            return "is not there", None
        if meeting.read(DRIVER) != word:
            return "is another one of the same name: what the driver wrote there is not to be seen", None
        return None, meeting.write(who)
    except StorageFault as fault:
        return f"cannot be used ({fault.problems[0].message})", None
    except OSError as error:
        return f"cannot be used: {error.strerror or error}", None
