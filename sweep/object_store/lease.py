"""Who drives a sweep whose record lies in an object store: an object that its driver writes anew every few seconds.

A store has no lock, and pyarrow no write on condition. So whoever wants the sweep writes an object of its own, lists
all of them, and withdraws when another one is alive; of two that come at once, none or one stays. Alive is what was
written in the last `EXPIRY_S` by the store's own clock; the clocks of the machines are not compared. A lease of a
process of this machine that is dead is alive no more.

A holder gives its lease up by itself when it could not renew it for `HELD_S`, well before somebody else may take it: it
was suspended, or the store away. `CLOCK_BOOTTIME` goes on while a machine sleeps.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sweep.holder import Holder
from sweep.object_store.store import StorageFault, Store, Stored

EXPIRY_S = 60.0
"""Since a lease was last written; then anybody may remove it."""
HELD_S = 45.0
"""Since a holder last renewed; then it gives up. What it had begun to write has the difference to arrive."""
EVERY_S = 10.0
"""Between two renewals."""


@dataclass(frozen=True)
class Found:
    """A lease that is alive: whose (None where its object cannot be read at the moment), when written, and its age."""

    holder: Holder | None
    written: float
    """By the store's clock, in seconds since the epoch."""
    age_s: float

    @property
    def expires_s(self) -> float:
        return max(0.0, EXPIRY_S - self.age_s)

    def __str__(self) -> str:
        whose = self.holder
        who = f"process {whose.pid} on {whose.host}" if whose else "a process that is just writing its lease"
        since = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(whose.since))}" if whose else ""
        return f"{who}{since} (its lease was renewed {self.age_s:.0f} s ago)"


class Lease:
    """The lease on one sweep, of this process.

    Args:
        store: the folder of the leases, for nothing else.
        on_lost: told why, once, when a lease that was held is held no more; from another thread.
        expiry_s, held_s, every_s: as the module's constants; a test has no minute.
    """

    def __init__(
        self,
        store: Store,
        on_lost: Callable[[str], None] = lambda why: None,
        *,
        expiry_s: float = EXPIRY_S,
        held_s: float = HELD_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._store, self._on_lost = store, on_lost
        self._expiry_s, self._held_s, self._every_s = expiry_s, held_s, every_s
        self._name = f"{uuid.uuid4().hex}.json"
        self._holder = Holder.here()
        self._renewed: float | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> Found | None:
        """Take the lease, and renew it from now on; if somebody has it, whose it is, and nothing has changed."""
        begin = _now()
        self._write()
        leases = self._store.objects()
        mine = next(each for each in leases if each.name == self._name)
        for other in leases:
            if other is mine:
                continue
            found = self._look(other, mine.written)
            if found is not None:
                self._store.remove([self._name])
                return found
            self._store.remove([other.name])
        self._renewed = begin
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return None

    def is_held(self) -> bool:
        """Whether this process may write on."""
        return self._renewed is not None and _now() - self._renewed < self._held_s

    def release(self) -> None:
        """Give it back; nobody is told that it is lost."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        self._renewed = None
        self._store.remove([self._name])

    def holder(self) -> Found | None:
        """Who has it, for a reader: by this machine's clock, since a reader may write nothing there."""
        for each in self._store.objects():
            if each.name != self._name and (found := self._look(each, time.time())):
                return found
        return None

    def _look(self, lease: Stored, now: float) -> Found | None:
        """A lease if it is alive."""
        if now - lease.written >= self._expiry_s:
            return None
        try:
            holder = Holder(**json.loads(self._store.read(lease.name)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            holder = None  # under file://, in the moment in which it is written
        if holder is not None and holder.is_dead:
            return None
        return Found(holder, lease.written, max(0.0, now - lease.written))

    def _write(self) -> None:
        self._store.write(self._name, json.dumps(asdict(self._holder)).encode())

    def _keep(self) -> None:
        why = "the storage did not answer"
        while not self._ending.wait(self._every_s):
            if not self.is_held():
                break
            begin = _now()
            try:
                if not self._store.has(self._name):
                    why = "it was removed"
                    break
                self._write()
            except (StorageFault, OSError) as fault:
                why = fault.problems[0].message if isinstance(fault, StorageFault) else str(fault)
                continue
            if not self.is_held():  # written too late: somebody else may have found it expired before
                break
            self._renewed = begin
        else:
            return
        self._renewed = None
        self._on_lost(f"the lease on the sweep was lost: {why}")


def _now() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
