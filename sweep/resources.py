"""What a trial takes, what there is, and how many trials run at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import Problem, Refused
from sweep.placement import Ask, NodeSize, fit, fitting

if TYPE_CHECKING:
    from sweep.spec.sections import Resources


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
class Cluster:
    """The nodes that there are, of a cluster or of this machine alone; and those that it may grow to."""

    nodes: tuple[NodeSize, ...]
    most: tuple[NodeSize, ...] | None = ()
    """All nodes that an autoscaler may have at once; none where it does not grow, None where nobody knows."""

    @classmethod
    def here(cls, cpus: float, gpus: float) -> Cluster:
        """One machine."""
        return cls((NodeSize(cpus, gpus),))

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)


def ask_of(asked: Resources, knobs: Mapping[str, Any]) -> Ask:
    """What the trial of a flat configuration takes: by the last of the cases that hold for it, which alone counts."""
    last = next((case for case in reversed(asked.cases) if case.holds(knobs)), None)
    return Ask(**_base(asked) | (last.said if last else {}))


def asks_of(asked: Resources) -> dict[str, Ask]:
    """Everything that some trial may take, by the key that says so."""
    base = _base(asked)
    cases = {f"resources.cases[{place}]": Ask(**base | case.said) for place, case in enumerate(asked.cases)}
    return {"resources": Ask(**base)} | cases


def _base(asked: Resources) -> dict[str, Any]:
    return {"workers": asked.workers, "cpus": asked.cpus_per_worker, "gpus": asked.gpus_per_worker}


def smallest(asked: Resources) -> Ask:
    """The least that a trial may take."""
    return min(asks_of(asked).values(), key=lambda ask: (ask.workers * ask.gpus, ask.workers * ask.cpus))


def check_possible(asked: Resources, cluster: Cluster) -> None:
    """Whether every trial can be placed on the nodes that the cluster may have.

    Raises:
        Refused: some never can; everything that is short is named. Ray would leave such a trial pending for ever.
    """
    if cluster.most is None:
        return
    nodes = cluster.most or cluster.nodes  # a launcher's file may be older than the nodes that are there
    lost = [
        (key, ask) for key, ask in asks_of(asked).items() if not (fitting(ask, nodes) or fitting(ask, cluster.nodes))
    ]
    if short := [found for key, ask in lost for found in _short(key, ask, nodes)]:
        # What a case says has no `--set` of its own; and no trial takes no CPU.
        changes = [
            f"--set {problem.key}={most:g}"
            for problem, most in short
            if "cases" not in (problem.key or "") and (most or "gpus" in (problem.key or ""))
        ]
        following = f"the same command with {' '.join(changes)}" if changes else "correct it, then the same command"
        raise Refused([problem for problem, _ in short], next=following)


def _short(key: str, ask: Ask, nodes: Sequence[NodeSize]) -> list[tuple[Problem, float]]:
    """Why a trial fits nowhere, what is short on every node or in all; and the most that there is of it."""
    found: list[tuple[Problem, float]] = []
    for what, field, wanted, there in (
        ("CPUs", "cpus_per_worker", ask.cpus, [node.cpus for node in nodes]),
        ("GPUs", "gpus_per_worker", ask.gpus, [node.gpus for node in nodes]),
    ):
        most = max(there, default=0)
        if wanted > most:
            where = "there" if len(nodes) < 2 else "on the largest node there"
            message = f"a worker asks {wanted:g} {what} and {where} {'is' if most == 1 else 'are'} {most:g}"
            found.append((Problem(f"{message}; give that at most", key=f"{key}.{field}"), most))
    if not found and not (alone := fitting(Ask(1, ask.cpus, ask.gpus), tuple(nodes))):
        message = f"no node has the {ask.cpus:g} CPUs and the {ask.gpus:g} GPUs that a worker asks, both"
        found.append((Problem(f"{message}; give less of one", key=key), 0))
    elif not found:
        message = f"a trial asks {ask.workers} workers at once and there is room for {alone}; give that at most"
        found.append((Problem(message, key=f"{key}.workers"), alone))
    return found


def slots(asked: Resources, cluster: Cluster) -> int:
    """Trials at once: as many of the smallest as fit, at most `concurrent`.

    Raises:
        Refused: as `check_possible`.
    """
    check_possible(asked, cluster)
    count = fitting(smallest(asked), cluster.nodes)
    return min(count, asked.concurrent or count)


def has_room(asked: Resources, open_trials: Sequence[Ask], cluster: Cluster, *, grows: bool) -> bool:
    """Whether another trial may be proposed beside those that are open.

    What is proposed early is proposed without the results that come in the meantime, so on a machine none waits. A
    cluster grows for what waits: with `concurrent` so many may; without it as many as its launcher allows nodes for, or
    one at a time where nobody says how far it grows.
    """
    if asked.concurrent is not None and len(open_trials) >= asked.concurrent:
        return False
    if not grows:
        return fit((*sorted(open_trials), smallest(asked)), cluster.nodes)
    if asked.concurrent is not None:
        return True
    return fit(tuple(sorted(open_trials)), cluster.most or cluster.nodes)


def threads(ask: Ask) -> int:
    """Threads of a worker = its CPUs: two trials of two threads on two cores ran at a third of one each."""
    return max(1, int(ask.cpus))
