"""Who drives a sweep: one process at a time, known by its `Holder`, and how long all of them have driven it.

The lock is the kernel's: it goes with its process, however that ends, so a killed driver leaves no lock behind. Of a
sweep whose root is a URI it is the lock of this machine, and a lease at the URI that of all
(`sweep.object_store.lease`).
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweep.errors import Problem, Unreachable
from sweep.files import append_json_line, is_locked, read_json, read_json_lines, write_json
from sweep.holder import Holder
from sweep.object_store.sweep import Unshared
from sweep.root import argument

_READER_S = 0.5
"""A reading command holds the lock for a moment, to see whether somebody does; a driver waits that out."""


class DriverLock:
    """The lock of one sweep's folder."""

    def __init__(self, folder: Path, share: Unshared | None = None) -> None:
        self._folder, self._share = folder, share or Unshared()
        self._lock = FileLock(folder / "lock")

    def acquire(self, command: str, *, is_new: bool = False) -> None:
        """Become the sweep's driver, until `release` or the end of this process.

        Args:
            command: what was typed, kept beside the start in `sessions.jsonl`.
            is_new: its folder was just made; at a URI another machine may have been quicker.

        Raises:
            Unreachable: another process drives it; nothing was changed.
            Refused: it is there already at the URI.
        """
        with self._share.alone():
            try:
                self._lock.acquire(timeout=_READER_S)
            except Timeout:
                raise self._held() from None
            except FileNotFoundError:  # `run --or-resume` took a folder just made for what a killed driver had left
                problem = Problem("was removed by another command in this moment", str(self._folder))
                raise Unreachable([problem], next="the same command") from None
            try:
                self._say_who()
                self._share.take(is_new=is_new)
                self._say_who()  # the copy that was taken says who drove it last
                me = {"pid": os.getpid(), "host": os.uname().nodename, "started": time.time(), "command": command}
                append_json_line(self._folder / "sessions.jsonl", me)
                self._share.begin(len(self.sessions()))
            except BaseException:
                self._share.release()
                self._lock.release()
                raise

    def _say_who(self) -> None:
        write_json(self._folder / "driver.json", asdict(Holder.here()))

    def release(self) -> None:
        """Let go of the sweep; the end of this driver's time is noted beside its start."""
        try:
            if self._lock.is_locked:
                append_json_line(self._folder / "sessions.jsonl", {"pid": os.getpid(), "ended": time.time()})
            self._share.release()
        finally:
            self._lock.release()

    def is_held(self) -> bool:
        """Whether a driver holds the sweep now, in this process or another."""
        return self._lock.is_locked or is_locked(self._folder / "lock") or self._share.is_held_elsewhere()

    def driver(self) -> Holder | None:
        """Who holds the sweep, or held it last, if whoever holds it now has not said yet who it is.

        None where nobody has said it, or only an older program.
        """
        with suppress(FileNotFoundError, TypeError):
            return Holder(**read_json(self._folder / "driver.json"))
        return None

    def _held(self) -> Unreachable:
        who = self.driver()
        process, kill = (f"process {who.pid} on {who.host}", f"kill {who.pid}") if who else ("another process", "kill")
        return Unreachable(
            [Problem(f"is driven by {process}; nothing was changed", str(self._folder))],
            next=f"wait for it (stsweep status {argument(self._folder)}), or end it there: {kill}",
        )

    def sessions(self) -> list[dict[str, Any]]:
        """Every driver that the sweep has had, oldest first: pid, host, started (s since the epoch), command.

        One that let go by itself has `ended` too; one that was killed has not.
        """
        found: list[dict[str, Any]] = []
        for line in read_json_lines(self._folder / "sessions.jsonl"):
            if "started" in line:
                found.append(line)
            elif found:
                found[-1] |= line
        return found


def why_unsafe(folder: Path) -> Problem | None:
    """Why a sweep of this folder is not to be driven: somebody else may have put code into it. None when it may."""
    about = folder.stat()
    if about.st_uid != os.geteuid():
        return Problem(
            f"belongs to user {about.st_uid}, not to you; a sweep's folder is code that would run", str(folder)
        )
    if about.st_mode & stat.S_IWOTH:
        return Problem("may be written by everyone; a sweep's folder is code that would run", str(folder))
    return None
