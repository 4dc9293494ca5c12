"""A trial at a worker whose sweep lies in a store: its newest state in a folder of this node, and back.

Every attempt has a folder of its own in this node's cache. It cannot be the driver's copy, though that be on the same
machine: the driver brings its copy to what the store has, which may be a row behind.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from model.cache import cache_dir
from sweep.files import write_whole
from sweep.shared.folder import DamagedError, SharedFolder
from sweep.shared.places import Place, asked_folder, is_checkpoint, pause_name, trained_folder
from sweep.shared.store import StorageFault, Store, open_store, patiently
from sweep.shared.uri import slug

_PATIENCE_S = 120.0
"""For a store that does not answer: a row waits for it, since nobody may hear of one that is not durable."""
_LOOK_S = 2.0
"""Between two looks whether the sweep pauses; each is a request."""


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
    publish: Callable[[], None] = lambda: None


@contextmanager
def trial_folder(
    place: Place | None, keys: Mapping[str, str], folder: Path, number: int, attempt: int
) -> Iterator[TrialFolder]:
    """Where to train. Of a sweep in a store: with the trial's newest state, checkpoint and all; it goes with the block.

    Args:
        place: of the sweep in a store; None: it lies where every node sees it.
        keys: what opens the store, if this node does not by itself (`sweep.shared.keys`).
        folder: the trial's in the record, for a sweep that is in no store.
        number: the trial's.
        attempt: from `SharedSweep.hand_out`.

    Raises:
        StorageFault: the store refuses, or does not answer for minutes.
    """
    if place is None:
        yield TrialFolder(folder)
        return
    os.environ.update(keys)
    store = patiently(lambda: open_store(place.uri), _PATIENCE_S).folder(place.sweep)
    home = cache_dir() / "trials" / slug(place.uri) / place.sweep
    with _own_folder(home, f"{number:04d}-{attempt}") as folder:
        patiently(asked_folder(store, number, folder).pull, _PATIENCE_S)
        trained = trained_folder(store, number, folder)
        patiently(lambda: trained.claim(attempt), _PATIENCE_S)
        patiently(lambda: _fetch(trained), _PATIENCE_S)
        pause = home / f"{folder.name}.pause"
        with _watched(store, pause_name(place.session), pause):
            yield TrialFolder(folder, pause, lambda: patiently(trained.push, _PATIENCE_S))


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
    """A new folder, and no other of this trial's sweep whose process is dead: each may hold a checkpoint."""
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
    for kind in ("pause", "lock"):
        (home / f"{name}.{kind}").unlink(missing_ok=True)


@contextmanager
def _watched(store: Store, name: str, file: Path) -> Iterator[None]:
    """Have `file` there once an object is there."""
    ending = threading.Event()

    def watch() -> None:
        while not ending.wait(_LOOK_S):
            with suppress(StorageFault):
                if store.has(name):
                    file.touch()
                    return

    thread = threading.Thread(target=watch, name="pause", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
