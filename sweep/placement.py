"""Which workers lie on which nodes: what fits at once, counted as Ray counts it.

Ray's unit is 1/10,000 of a CPU or a GPU: as binary fractions, 0.07 would fit 99 times into 7. A worker lies on one
node, and a fraction of a GPU on one GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

_UNITS = 10_000


@dataclass(frozen=True, order=True)
class Ask:
    """What one trial takes: so many workers, each with so many CPUs and GPUs."""

    workers: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        gpus = f" and {_counted(self.gpus, 'GPU')}" if self.gpus else ""
        return f"{_counted(self.workers, 'worker')} of {_counted(self.cpus, 'CPU')}{gpus}"


def _counted(amount: float, what: str) -> str:
    return f"{amount:g} {what}{'' if amount <= 1 else 's'}"


@dataclass(frozen=True)
class NodeSize:
    """What one node has in all."""

    cpus: float
    gpus: float


class Placement:
    """Places trials on nodes, and takes them off again.

    The workers of a trial go to one node if one has room for all of them, else to as few as a first fit finds (Ray's
    strategy PACK).
    """

    def __init__(self, nodes: Sequence[NodeSize]) -> None:
        self._cpus = [_units(node.cpus) for node in nodes]
        self._gpus = [[_UNITS] * int(node.gpus) for node in nodes]

    def place(self, ask: Ask) -> tuple[Place, ...] | None:
        """The places of a trial's workers, or None where it does not fit; then nothing is taken."""
        for node in range(len(self._cpus)):
            if (found := self._take(ask, [node])) is not None:
                return found
        return self._take(ask, range(len(self._cpus))) if ask.workers > 1 else None

    def free(self, places: Iterable[Place]) -> None:
        """Give back what `place` took."""
        for place in places:
            self._cpus[place.node] += place.cpus
            for gpu, units in place.gpus:
                self._gpus[place.node][gpu] += units

    def _take(self, ask: Ask, nodes: Iterable[int]) -> tuple[Place, ...] | None:
        found: list[Place] = []
        for node in nodes:
            while len(found) < ask.workers and (place := self._worker(ask, node)) is not None:
                found.append(place)
        if len(found) == ask.workers:
            return tuple(found)
        self.free(found)
        return None

    def _worker(self, ask: Ask, node: int) -> Place | None:
        cpus, gpus = _units(ask.cpus), self._choose(node, _units(ask.gpus))
        if gpus is None or self._cpus[node] < cpus:
            return None
        self._cpus[node] -= cpus
        for gpu, units in gpus:
            self._gpus[node][gpu] -= units
        return Place(node, cpus, gpus)

    def _choose(self, node: int, units: int) -> tuple[tuple[int, int], ...] | None:
        """Whole GPUs that are free, or the fullest one that has room for a fraction; None where there is none."""
        left = self._gpus[node]
        if units < _UNITS:
            fitting = [gpu for gpu, free in enumerate(left) if free >= units]
            if not units:
                return ()
            return ((min(fitting, key=left.__getitem__), units),) if fitting else None
        whole = [gpu for gpu, free in enumerate(left) if free == _UNITS][: units // _UNITS]
        return tuple((gpu, _UNITS) for gpu in whole) if len(whole) == units // _UNITS else None


@dataclass(frozen=True)
class Place:
    """Where one worker lies: the node's number, the CPUs that it takes there, and of which GPUs how much, in units."""

    node: int
    cpus: int
    gpus: tuple[tuple[int, int], ...]


@lru_cache(maxsize=64)
def fitting(ask: Ask, nodes: tuple[NodeSize, ...]) -> int:
    """Trials of one kind that fit at once; 0 when not even one does."""
    placement, count = Placement(nodes), 0
    while placement.place(ask) is not None:
        count += 1
    return count


@lru_cache(maxsize=64)
def fit(asks: tuple[Ask, ...], nodes: tuple[NodeSize, ...]) -> bool:
    """Whether these trials fit all at once, the largest placed first."""
    if len(set(asks)) == 1:  # nearly always; and five hundred trials are not placed anew for each proposal
        return len(asks) <= fitting(asks[0], nodes)
    placement = Placement(nodes)
    by_size = sorted(asks, key=lambda ask: (ask.workers * ask.gpus, ask.workers * ask.cpus), reverse=True)
    return all(placement.place(ask) is not None for ask in by_size)


def _units(amount: float) -> int:
    return round(amount * _UNITS)
