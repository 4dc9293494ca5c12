"""How many trials run at once, from what a trial asks and what there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.errors import Problem, Refused

if TYPE_CHECKING:
    from sweep.spec import Resources


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
        Problem(f"a trial asks {wanted:g} {what} and there {'is' if there == 1 else 'are'} {there:g}", key=key)
        for what, key, wanted, there in (
            ("CPUs", "resources.cpus", asked.cpus, machine.cpus),
            ("GPUs", "resources.gpus", asked.gpus, machine.gpus),
        )
        if wanted > there
    ]
    if short:
        raise Refused(short, next="stsweep run … --set resources.gpus=0, or lower resources.cpus")
    fit = math.floor(machine.cpus / asked.cpus)
    if asked.gpus > 0:
        per_gpu = math.floor(1 / asked.gpus) if asked.gpus < 1 else 1 / asked.gpus
        fit = min(fit, math.floor(machine.gpus * per_gpu))
    return min(fit, asked.concurrent or fit)


def threads(asked: Resources) -> int:
    """Threads of a trial = its CPUs: two trials of two threads on two cores ran at a third of one each."""
    return max(1, int(asked.cpus))
