"""What a driver does where its sweep's record lies in a store; and what it does not, where it lies in a folder.

The record in this machine's cache is a copy of that at the URI. A trial is there before a worker hears of it, a row
before Tune does, an end before the next proposal; so a driver that is killed loses nothing, wherever the next one
runs. What is not there: `study.log` (derived), `code/`, `ray/`, `outcome.txt` (written when the sweep has been let go),
and `mlflow.json` where it tells of a database of this machine. On another server it goes along with what is written
next, so it may lag behind by as much.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path

from sweep.errors import Problem, Refused, Unreachable
from sweep.files import STORAGE
from sweep.object_store.copy import AT_ONCE, SNAPSHOT, SweepCopy
from sweep.object_store.folder import SharedFolder
from sweep.object_store.lease import Lease
from sweep.object_store.places import (
    Place,
    asked_folder,
    driver_files,
    driver_folder,
    is_checkpoint,
    is_encoder,
    is_judged,
    pause_name,
    trained_folder,
)
from sweep.object_store.store import StorageFault, patiently
from sweep.trial_record import attempts

_PATIENCE_S = 30.0
"""For a store that does not answer; the lease outlives it."""
_NEWS_S = 1.0
"""Between two looks for rows of trials that have reported, for the table and MLflow."""


class Unshared:
    """The record of a root that is a path: it has no copy."""

    place: Place | None = None
    lost: str | None = None
    uri: str | None = None

    def alone(self) -> AbstractContextManager[object]:
        return nullcontext()

    def take(self, *, is_new: bool = False) -> None: ...

    def begin(self, session: int) -> None: ...

    def watch(self, on_lost: Callable[[str], None]) -> None: ...

    def publish(self, number: int | None = None, *, surely: bool = False) -> None: ...

    def hand_out(self, number: int) -> None: ...

    def note(self, number: int) -> None: ...

    def take_back(self, number: int) -> None: ...

    def settle(self, number: int) -> None: ...

    def drop_encoder(self, number: int) -> None: ...

    def fetch_encoder(self, number: int) -> None: ...

    def pause(self) -> None: ...

    def release(self) -> None: ...

    def discard(self) -> None: ...

    def is_held_elsewhere(self) -> bool:
        return False


class SharedSweep(SweepCopy, Unshared):
    """A sweep whose record lies in a store, as its driver sees it.

    Args:
        local: its record in this machine's cache.
        uri: of the root.
    """

    def __init__(self, local: Path, uri: str) -> None:
        super().__init__(local, uri)
        self.uri = uri
        self._lease: Lease | None = None
        self._top: SharedFolder | None = None
        self._on_lost: Callable[[str], None] | None = None
        self._trained: dict[int, SharedFolder] = {}
        """Of trials that this driver has taken back."""
        self._asked: dict[int, SharedFolder] = {}
        self._news: set[int] = set()
        self._ending = threading.Event()

    def take(self, *, is_new: bool = False) -> None:
        """Take the lease, then bring the copy here up to date.

        Args:
            is_new: there should be no such sweep yet.

        Raises:
            Unreachable: another process drives the sweep.
            Refused: it is new, and there all the same.
            StorageFault: the store refuses, or does not answer.
        """
        lease = Lease(self._store.folder("lease"), self._lose)
        found = patiently(lease.take, _PATIENCE_S)
        if found is not None:
            whose = found.holder
            status = f"stsweep status {self._local.name} --root {shlex.quote(self._uri)}"
            end = f"end it there (kill {whose.pid} on {whose.host})" if whose else "end it"
            raise Unreachable(
                [Problem(f"is driven by {found}; nothing was changed", self._store.place)],
                next=f"wait for it ({status}), or {end}; if it is dead already, the same command in "
                f"{found.expires_s:.0f} s",
            )
        self._lease = lease
        (self._local / SNAPSHOT).unlink(missing_ok=True)
        self.pull()
        if is_new and self.is_there():
            raise Refused(
                [Problem("was made a moment ago; nothing was changed there", self._store.place, key="--name")],
                next=f"stsweep run SPEC --name NEW --root {shlex.quote(self._uri)}",
            )

    def begin(self, session: int) -> None:
        """Write from now on as the driver of this number, or of a higher one; who has the lease.

        An earlier driver may have counted as many and be suspended before it has written anything but its claim.

        Raises:
            StorageFault: the lease was lost meanwhile.
        """
        top = driver_folder(self._store, self._local)

        def claim() -> None:
            top.claim(max(session, top.highest_writer() + 1))
            paused = self._store.folder("pause")
            paused.remove(each.name for each in paused.objects())

        self._do(claim, surely=True)
        self._top, self.place = top, Place(self._uri, self._local.name, top.writer)
        self._ending.clear()
        threading.Thread(target=self._follow, name="shared", daemon=True).start()

    def watch(self, on_lost: Callable[[str], None]) -> None:
        """Have `on_lost` told, from another thread, when this driver may write no more."""
        self._on_lost = on_lost
        if self.lost is not None:
            on_lost(self.lost)

    def _lose(self, why: str) -> None:
        if self.lost is None:
            self.lost = why
            if self._on_lost is not None:
                self._on_lost(why)

    def _may_write(self) -> bool:
        return self.lost is None and self._lease is not None and self._lease.is_held()

    def _do(self, action: Callable[[], object], *, surely: bool = False) -> None:
        """Write something, unless this driver may not any more; it hears of a fault as of a lost lease."""
        if self._may_write():
            try:
                patiently(action, _PATIENCE_S)
                if not surely or self._may_write():  # else it may have come too late
                    return
            except StorageFault as fault:
                self._lose(fault.problems[0].message)
        if surely:
            raise StorageFault(
                [Problem(self.lost or f"{STORAGE} is not held by this driver", self._store.place)],
                next=f"stsweep resume {self._local.name} --root {shlex.quote(self._uri)}",
            )

    def publish(self, number: int | None = None, *, surely: bool = False) -> None:
        """Make the copy of what is no trial's, or of what the driver says of one, what it is here.

        Args:
            number: of the trial.
            surely: raise where that cannot be, for what must not be acted on otherwise.

        Raises:
            StorageFault: with `surely`.
        """
        assert self.place is not None and self._top is not None
        if number is None:
            self._top.only = driver_files(self._local)
            self._do(self._top.push, surely=surely)
            return
        if number not in self._asked:
            self._asked[number] = asked_folder(self._store, number, self._trial(number))
            self._asked[number].write_as(self.place.session)
        self._do(self._asked[number].push, surely=surely)

    def hand_out(self, number: int) -> None:
        """A worker gets a trial now: what it must know is there, and nobody else writes what it has trained.

        Raises:
            StorageFault: it cannot be.
        """
        self.publish(number, surely=True)
        with self._locks[number]:
            self._trained.pop(number, None)

    def note(self, number: int) -> None:
        """A trial has reported: its rows are fetched soon."""
        self._news.add(number)

    def _follow(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while not self._ending.wait(_NEWS_S):
                now, self._news = self._news, set()
                with suppress(StorageFault):  # the next row brings the same
                    list(pool.map(self._fetch, now))

    def _fetch(self, number: int) -> None:
        with self._locks[number]:
            if number not in self._trained:  # else it was taken back since
                trained_folder(self._store, number, self._trial(number)).pull(is_judged)

    def take_back(self, number: int) -> None:
        """Fetch what a trial's worker has written, which from now on writes no more; before it is judged."""
        with self._locks[number]:
            self._do(partial(self._take_back, number))

    def _take_back(self, number: int) -> None:
        folder = trained_folder(self._store, number, self._trial(number))
        assert self.place is not None
        folder.claim(self.place.writer(attempts(self._trial(number)), "takes back"))
        if folder.pull(is_judged):
            self._trained[number] = folder

    def settle(self, number: int) -> None:
        """A trial has ended: its copy stays as it was judged, without its checkpoint."""
        if number in self._trained or self._known(number).has(is_checkpoint):
            self._drop(number, is_checkpoint)

    def drop_encoder(self, number: int) -> None:
        """Remove a trial's encoder from the store."""
        if self._lease is not None and self._known(number).has(is_encoder):
            self._drop(number, is_encoder)

    def _known(self, number: int) -> SharedFolder:
        return self._trained.get(number) or trained_folder(self._store, number, self._trial(number))

    def _drop(self, number: int, unwanted: Callable[[str], bool]) -> None:
        def drop() -> None:
            if number not in self._trained:
                self._take_back(number)
            if number in self._trained:
                self._trained[number].drop(unwanted)

        with self._locks[number]:
            self._do(drop)

    def pause(self) -> None:
        """Ask the workers to save a checkpoint and end. One that has lost its lease asks its own all the same."""
        if self.place is not None:
            with suppress(StorageFault):
                self._store.write(pause_name(self.place.session), b"")

    def release(self) -> None:
        """Let the sweep go; its last state is there, if it may be."""
        self._ending.set()
        if self.place is not None:
            self.publish()
        if self._lease is not None:
            with suppress(StorageFault):
                self._lease.release()
        self._lease = None

    def discard(self) -> None:
        """Remove a sweep in which nothing has begun, unless somebody has taken it since it was let go."""
        with suppress(StorageFault):
            lease = self._lease or Lease(self._store.folder("lease"))
            if self._lease is None and lease.take() is not None:
                return
            if self._top is not None and self._top.is_newest():
                found = [each.name for each in self._store.objects()]
                self._store.remove(name for name in found if not name.startswith("lease/"))
            lease.release()
        self._lease = None
