"""A trial at a worker whose sweep lies in a store: its newest state in a folder of this node, and back.

Every attempt has a folder of its own in this node's cache. It cannot be the driver's copy, though that be on the same
machine: the driver brings its copy to what the store has, which may be a row behind.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from model.cache import cache_dir
from sweep.files import write_whole
from sweep.object_store.folder import DamagedError, SharedFolder
from sweep.object_store.places import (
    Place,
    Role,
    asked_folder,
    is_checkpoint,
    is_needed_to_go_on,
    pause_name,
    trained_folder,
)
from sweep.object_store.store import StorageFault, Store, open_store, patiently
from sweep.object_store.uri import slug

if TYPE_CHECKING:
    from model.ranks import Ranks
    from sweep.trial import Job

_PATIENCE_S = 120.0
"""For a store that does not answer: a row waits for it, since nobody may hear of one that is not durable."""
_LOOK_S = 2.0
"""Between two looks whether the sweep pauses; each is a request."""


@dataclass(frozen=True)
class TrialHome:
    """Where an attempt at a trial finds what there is of it; goes to whichever node that is on."""

    folder: Path
    """The trial's in the record; its name is the trial's number."""
    attempt: int
    place: Place | None = None
    """Of a sweep in a store. None: every node sees `folder`."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What opens the store, if a node does not by itself (`sweep.object_store.keys`)."""

    def _store(self, place: Place) -> Store:
        os.environ.update(self.keys)
        return patiently(lambda: open_store(place.uri), _PATIENCE_S).folder(place.sweep)

    def _on_this_node(self, place: Place) -> Path:
        """Of all attempts at trials of the sweep, in this node's cache."""
        return cache_dir() / "trials" / slug(place.uri) / place.sweep

    @property
    def number(self) -> int:
        return int(self.folder.name)


@dataclass(frozen=True)
class TrialFolder:
    """Where a worker finds and leaves what it has of a trial.

    Attributes:
        folder: On this node.
        pause: A file that is there when the sweep pauses; None: the sweep's own.
        publish: Makes it durable, before anybody hears of it. Raises `Fenced` when the trial was given to another.
    """

    folder: Path
    pause: Path | None = None
    publish: Callable[[], None] | None = None

    def job(self, job: Job) -> Job:
        """The sweep's, for this trial."""
        return job if self.publish is None else replace(job, pause=self.pause, publish=self.publish)


@contextmanager
def open_trial(home: TrialHome, *, ranks: Ranks | None = None, role: Role = "trains") -> Iterator[TrialFolder]:
    """Of a sweep in a store: fetch a trial's newest state, checkpoint and all; the folder goes with the block.

    Args:
        home: of the trial.
        ranks: who trains together. The first alone writes, and all begin with what it has found. None: this process.
        role: `trains` or `judges`.

    Raises:
        StorageFault: the store refuses, or does not answer for minutes.
    """
    place = home.place
    if place is None:
        yield TrialFolder(home.folder)
        return
    store, nearby = home._store(place), home._on_this_node(place)
    with _own_folder(nearby, f"{home.folder.name}-{uuid.uuid4().hex[:12]}") as folder:
        trained = trained_folder(store, home.number, folder)
        if ranks is None or ranks.is_first:
            patiently(asked_folder(store, home.number, folder).pull, _PATIENCE_S)
            patiently(lambda: trained.claim(place.writer(home.attempt, role)), _PATIENCE_S)
            patiently(lambda: _fetch(trained), _PATIENCE_S)
        if ranks is not None and ranks.are_several:
            if ranks.is_first:
                trained.confirm()
            ranks.agree(lambda: True)
            if not ranks.is_first:
                patiently(lambda: trained.pull(is_needed_to_go_on), _PATIENCE_S)
                yield TrialFolder(folder, None, _nothing)
                return
        with _watched(store, place, nearby) as pause:
            yield TrialFolder(folder, pause, lambda: patiently(trained.push, _PATIENCE_S))


@contextmanager
def watch_pause(home: TrialHome, known: Path | None) -> Iterator[Path | None]:
    """A file that is there when the sweep pauses. `known`: where every node sees the sweep's folder."""
    if home.place is None:
        yield known
        return
    with _watched(home._store(home.place), home.place, home._on_this_node(home.place)) as pause:
        yield pause


def _nothing() -> None:
    pass


def _fetch(trained: SharedFolder) -> None:
    """A checkpoint that is damaged there costs the training since it began, not the trial."""
    try:
        trained.pull()
    except DamagedError as damaged:
        if not trained.has(is_checkpoint):
            raise
        trained.pull(lambda path: not is_checkpoint(path))
        write_whole(trained.local / "note.txt", f"trained from the start again: {damaged.problems[0]}\n")


@contextmanager
def _own_folder(home: Path, name: str) -> Iterator[Path]:
    """A new folder; those of dead processes go, for each may hold a checkpoint."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{name}.lock"):
        for lock in home.glob("*.lock"):
            with suppress(Timeout), FileLock(lock, blocking=False):
                _remove(home, lock.stem)
        folder = home / name
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(home, name)


def _remove(home: Path, name: str) -> None:
    shutil.rmtree(home / name, ignore_errors=True)
    (home / f"{name}.lock").unlink(missing_ok=True)


@contextmanager
def _watched(store: Store, place: Place, nearby: Path) -> Iterator[Path]:
    """A file that comes to be when an object does: a training looks for it at every step."""
    ending, name = threading.Event(), pause_name(place.session)
    nearby.mkdir(parents=True, exist_ok=True)
    file = nearby / f"{uuid.uuid4().hex[:12]}.pause"

    def watch() -> None:
        while not ending.wait(_LOOK_S):
            with suppress(StorageFault):
                if store.has(name):
                    file.touch()
                    return

    thread = threading.Thread(target=watch, name="pause", daemon=True)
    thread.start()
    try:
        yield file
    finally:
        ending.set()
        thread.join()
        file.unlink(missing_ok=True)
