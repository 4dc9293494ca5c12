"""Which process holds a sweep, told from every other one of the same number."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
"""Linux's; without it `ps` says when a process began."""


@dataclass(frozen=True)
class Holder:
    """Whose a lock or a lease is. `boot`, `space`, `started` tell a process from another of the same number: the
    machine's boot, its space of process numbers (a container has its own), and when it began."""

    pid: int
    host: str
    since: float
    """Seconds since the epoch, by its own clock; for messages."""
    boot: str
    space: str
    started: str

    @classmethod
    def here(cls) -> Holder:
        return cls(os.getpid(), os.uname().nodename, time.time(), _boot(), _space(), _started(os.getpid()) or "")

    @property
    def is_here(self) -> bool:
        """Whether its number means the same process to it and to this one."""
        return (self.boot, self.space) == (_boot(), _space())

    @property
    def is_dead(self) -> bool:
        """Whether it is a process of this machine that has ended; of another machine nobody knows."""
        return self.is_here and _started(self.pid) != self.started


def _boot() -> str:
    said = _PROC / "sys/kernel/random/boot_id"
    return said.read_text().strip() if said.exists() else os.uname().nodename


def _space() -> str:
    space = _PROC / "self/ns/pid"
    return os.readlink(space) if space.is_symlink() else ""  # noqa: PTH115  its target is no path


def _started(pid: int) -> str | None:
    """When a process began; None where there is none, or a zombie alone."""
    if not _PROC.joinpath("self").exists():
        said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        return said or None
    try:
        said = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = said.rpartition(")")[2].split()  # a program's name may hold blanks and brackets
    return None if fields[0] in "ZX" else fields[19]
