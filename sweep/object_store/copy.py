"""The copy in this machine's cache of a record that lies in a store: brought up to date by whoever reads it."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from sweep.files import write_whole
from sweep.object_store.lease import Lease
from sweep.object_store.places import asked_folder, driver_folder, is_encoder, is_judged, trained_folder
from sweep.object_store.store import StorageFault, Store, open_store

AT_ONCE = 16
"""Trials that are read at the same time."""
SNAPSHOT = ".driven"
"""In the copy: who drove the sweep when it was last looked at."""
_LOOK_S = 2.0


class SweepCopy:
    """The copy of one sweep.

    Args:
        local: its folder in the cache.
        uri: of the root.
    """

    def __init__(self, local: Path, uri: str) -> None:
        self._local, self._uri = local, uri
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        """One a trial: two threads of a driver fetch."""

    @cached_property
    def _store(self) -> Store:
        return open_store(self._uri).folder(self._local.name)

    def alone(self) -> AbstractContextManager[object]:
        """While the copy is replaced, or a driver becomes one, which alone writes there from then on."""
        return FileLock(self._local.with_name(f".{self._local.name}.lock"))

    def is_there(self) -> bool:
        """Whether there is such a sweep, as far as was last looked."""
        return (self._local / "sweep.json").exists()

    def fetch_encoder(self, number: int) -> None:
        """Have a trial's encoder here, if it was kept."""
        with self._locks[number]:
            trained_folder(self._store, number, self._trial(number)).pull(
                lambda path: is_judged(path) or is_encoder(path)
            )

    def pull(self) -> None:
        """Bring the record here up to date: all but checkpoints and encoders. What is not there any more goes."""
        names: defaultdict[str, list[str]] = defaultdict(list)
        for each in self._store.objects():
            folder, _, name = each.name.rpartition("/")
            names[folder].append(name)
        if not driver_folder(self._store, self._local).pull(names=names["driver"]):
            for left in self._local.iterdir():
                if left.name != "lock":
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            return
        (self._local / "trials").mkdir(exist_ok=True)
        here = {int(each.name) for each in (self._local / "trials").iterdir() if each.name.isdecimal()}
        there = {int(found[1]) for folder in names if (found := re.fullmatch(r"trials/(\d+)/asked", folder))}

        def pull_trial(number: int) -> None:
            at = f"trials/{number:04d}"
            local = self._trial(number)
            if asked_folder(self._store, number, local).pull(names=names[f"{at}/asked"]):
                trained_folder(self._store, number, local).pull(is_judged, names=names[f"{at}/trained"])
            else:  # it was not handed to a worker
                shutil.rmtree(local, ignore_errors=True)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(pull_trial, sorted(here | there)))

    def look(self) -> None:
        """Note whether somebody drives it now, for `is_held_elsewhere`."""
        found = Lease(self._store.folder("lease")).holder()
        if found is None:
            (self._local / SNAPSHOT).unlink(missing_ok=True)
        else:
            write_whole(self._local / SNAPSHOT, f"{found}\n")

    def is_held_elsewhere(self) -> bool:
        """Whether somebody drives it; looked at again only while somebody does, and now and then."""
        snapshot = self._local / SNAPSHOT
        with suppress(FileNotFoundError, StorageFault):
            if time.time() - snapshot.stat().st_mtime > _LOOK_S:
                self.look()
        return snapshot.exists()

    def _trial(self, number: int) -> Path:
        return self._local / "trials" / f"{number:04d}"
