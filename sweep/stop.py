"""End a sweep that this machine drives: its driver is told to close, as by `kill`, and waited for."""

from __future__ import annotations

import os
import signal
import sys
import time
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
    driver, here = lock.driver(), os.uname().nodename
    pid, host = driver["pid"], driver["host"]
    if host != here:
        raise Refused(
            [Problem(f"sweep {record.name} is driven by process {pid} on {host}, and this is {here}")],
            next=f"on {host}: kill {pid}; a submitted one from here: stsweep stop {record.name} --address URL",
        )
    say(f"stopping process {pid}: no new trials, running ones save a checkpoint", sys.stderr)
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:  # a container on this machine has the same name and other processes
        problem = f"sweep {record.name} is driven by process {pid}, which is not seen from here"
        raise Refused([Problem(problem)], next=f"kill {pid} where it runs") from None
    except PermissionError:
        raise Refused([Problem(f"process {pid} belongs to another user")], next=f"as that user: kill {pid}") from None
    deadline = time.monotonic() + _WAIT_S
    while lock.is_held():
        if time.monotonic() > deadline:
            raise Unreachable([Problem(f"process {pid} has not ended after {_WAIT_S:.0f} s")], next=f"kill -9 {pid}")
        time.sleep(_POLL_S)
    return f"sweep {record.name} is closed\nNext: stsweep resume {record.argument}, {status}"
