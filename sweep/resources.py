"""How many trials run at once, from what a trial asks and what there is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import Problem, Refused

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import Resources


_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cpus_here() -> int:
    """CPUs that Ray counts on this machine: all, or as many whole ones as a container's quota (cgroup v2) allows."""
    there = os.cpu_count() or 1
    try:
        quota, period = map(int, _CPU_QUOTA.read_text(encoding="utf-8").split())
    except (OSError, ValueError):  # no such file, or "max": no quota
        return there
    return min(there, max(1, quota // period))


@dataclass(frozen=True)
class Machine:
    """What the machine or the cluster has in all."""

    cpus: float
    gpus: float


def slots(asked: Resources, machine: Machine) -> int:
    """Trials at once: as many as fit, at most `concurrent`.

    Raises:
        Refused: not even one trial fits; everything that is short is named. Ray would leave it pending for ever.
    """
    short = [
        Problem(
            f"a trial asks {wanted:g} {what} and there {'is' if there == 1 else 'are'} {there:g}; give that at most",
            key=key,
        )
        for what, key, wanted, there in (
            ("CPUs", "resources.cpus", asked.cpus, machine.cpus),
            ("GPUs", "resources.gpus", asked.gpus, machine.gpus),
        )
        if wanted > there
    ]
    if short:
        most = {"resources.cpus": machine.cpus, "resources.gpus": machine.gpus}
        changes = " ".join(f"--set {problem.key}={most[problem.key or '']:g}" for problem in short)
        raise Refused(short, next=f"the same command with {changes}")
    fit = fitting(asked, machine)
    return min(fit, asked.concurrent or fit)


def fitting(asked: Resources, machine: Machine) -> int:
    """Trials that fit at once; 0 when not even one does."""
    fit = _times(asked.cpus, machine.cpus)
    if asked.gpus >= 1:
        fit = min(fit, _times(asked.gpus, machine.gpus))
    elif asked.gpus > 0:  # no trial lies on two GPUs
        fit = min(fit, _times(asked.gpus, 1) * int(machine.gpus))
    return fit


def _times(part: float, whole: float) -> int:
    """How often a part fits, in Ray's own unit, 1/10,000: as binary fractions, 0.07 would fit 99 times into 7."""
    return round(whole * 10_000) // max(1, round(part * 10_000))


def threads(asked: Resources) -> int:
    """Threads of a trial = its CPUs: two trials of two threads on two cores ran at a third of one each."""
    return max(1, int(asked.cpus))
