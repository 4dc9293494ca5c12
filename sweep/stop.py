"""End a sweep that this machine drives: its driver is told to close, as by `kill`, and waited for."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sweep.driver_lock import DriverLock
from sweep.errors import Problem, Refused, Unreachable
from sweep.say import say

if TYPE_CHECKING:
    from sweep.record import Record

_WAIT_S = 120.0
"""The grace of a driver may be set in its own environment, which is not known here."""
_POLL_S = 0.2


def stop_driver(record: Record) -> str:
    """Close a sweep: no new trials, running ones save a checkpoint. Returns when it is closed; what to say.

    Raises:
        Refused: nobody drives it, or a process of another machine, or of another user.
        Unreachable: its driver is there still.
    """
    lock, status = DriverLock(record.folder, record.share), f"stsweep status {record.argument}"
    if not lock.is_held():
        raise Refused([Problem(f"sweep {record.name} is not being driven")], next=status)
    pid = _pid_here(lock, record.name)
    say(f"stopping process {pid}: no new trials, running ones save a checkpoint", sys.stderr)
    with suppress(ProcessLookupError):  # it has just ended
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError:
            other = Problem(f"process {pid} belongs to another user")
            raise Refused([other], next=f"as that user: kill {pid}") from None
    deadline = time.monotonic() + _WAIT_S
    while lock.is_held():
        if time.monotonic() > deadline:
            raise Unreachable([Problem(f"process {pid} has not ended after {_WAIT_S:.0f} s")], next=f"kill -9 {pid}")
        time.sleep(_POLL_S)
    return f"sweep {record.name} is closed\nNext: stsweep resume {record.argument}, {status}"


def _pid_here(lock: DriverLock, name: str) -> int:
    """The driver's number, when it is surely the driver that has it: another process may have had it since."""
    driver, here = lock.driver(), os.uname().nodename
    if driver is None or driver.is_dead:
        raise Refused(
            [Problem(f"sweep {name} is held by a process that has not said yet which it is")],
            next="the same command in a moment",
        )
    if driver.is_here:
        return driver.pid
    if driver.host == here:  # a container on this machine has the same name and other processes
        problem = f"sweep {name} is driven by process {driver.pid}, which is not seen from here"
        raise Refused([Problem(problem)], next=f"kill {driver.pid} where it runs")
    raise Refused(
        [Problem(f"sweep {name} is driven by process {driver.pid} on {driver.host}, and this is {here}")],
        next=f"on {driver.host}: kill {driver.pid}; a submitted one from here: stsweep stop {name} --address URL",
    )
