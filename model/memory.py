"""Resident memory of this process: now, and the most since `forget_peak`. No torch here."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """What an encoder takes, in bytes, at the worst moment since it began to load."""

    encoder: int
    """Above what the process had before; on a GPU, the GPU's memory."""
    process: int
    """Resident memory in all, with the libraries."""


def resident_bytes() -> int:
    """Resident memory now; where the system is not Linux, the most there ever was."""
    gc.collect()
    return _status("VmRSS") if _STATUS.exists() else _maximum_ever()


def peak_bytes() -> int:
    """The most resident memory since `forget_peak`; where the system is not Linux, the most there ever was.

    `resource.getrusage` would not do on Linux: a new process inherits the maximum of the one that started it.
    """
    return _status("VmHWM") if _STATUS.exists() else _maximum_ever()


def forget_peak() -> None:
    """Count the peak anew from here; does nothing where the system is not Linux."""
    if _CLEAR.exists():
        with suppress(OSError):  # a hardened container
            _CLEAR.write_text("5")  # proc_pid_clear_refs(5): 5 resets the peak


def _status(key: str) -> int:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def _maximum_ever() -> int:
    import resource

    kilobytes_on_linux = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes_on_linux if sys.platform == "darwin" else 1024 * kilobytes_on_linux
