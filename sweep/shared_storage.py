"""Whether the nodes of a cluster see the driver's files: before a trial, not when it fails (`sweep.meeting`: how)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import Problem, Refused, Unreachable
from sweep.meeting import DRIVER, Meeting, meeting_in, visit
from sweep.nodes import Answer, Node, ask_nodes, is_only_here, nodes_now
from sweep.object_store.store import StorageFault
from sweep.resources import asks_of
from sweep.spec.misfits import values_of

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_NAMED = 4
"""Nodes that a message names; of more it gives the number."""


@dataclass(frozen=True)
class Seen:
    """What one node sees.

    Attributes:
        fault: What is wrong with what should be shared, there; None when the driver's word was read.
        word: What the node wrote beside it, for the driver to find; None when it could not.
        missing: The paths that are not there.
    """

    fault: str | None
    word: str | None
    missing: tuple[str, ...]


def check_shared(spec: SweepSpec, folder: Path, argument: str, timeout_s: float = 30.0) -> None:
    """Refuse a sweep on a connected cluster whose nodes do not see its folder, or its root's URI, or its data.

    Args:
        spec: what is trained on and scored.
        folder: the sweep's.
        argument: what a command calls the sweep.
        timeout_s: for the nodes to answer.

    Raises:
        Refused: nodes, paths and what to do.
        Unreachable: every node that answers sees them, and one does not answer.
    """
    asks, meeting = asks_of(spec.resources).values(), meeting_in(folder)
    nodes = [node for node in nodes_now() if any(can_run(node, ask.cpus, ask.gpus) for ask in asks)]
    problems, silent = find_unshared(meeting, needed_paths(spec), nodes, timeout_s)
    if problems:
        raise Refused(problems, next=_remedy(problems, meeting, argument))
    if silent:
        message = f"whether all nodes see the sweep's files is not known: {_listed(silent, '; ')}"
        raise Unreachable([Problem(message, key="--address")], next="ray status, then the same command")


def find_unshared(
    meeting: Meeting, paths: Sequence[str], nodes: Sequence[Node], timeout_s: float = 30.0
) -> tuple[list[Problem], list[str]]:
    """What some of the nodes do not see, and the nodes that did not answer, each with its reason.

    Args:
        meeting: in what is to be shared, and written by all; nothing is left there.
        paths: to be there.
        nodes: of the connected cluster; this machine alone is not asked.
        timeout_s: for all of them to answer.

    Raises:
        OSError, StorageFault: the driver itself cannot write there.
    """
    import ray

    if is_only_here(nodes):
        return [], []
    try:
        word = meeting.write(DRIVER)
        # What a call is given may be in logs; what is put is in memory alone, and keys may be in it.
        answers = ask_nodes(look, ray.put(meeting), word, paths, nodes=nodes, timeout_s=timeout_s)
        there = {node.id for node in nodes_now()}
        answers = [answer for answer in answers if answer.node.id in there]  # one that left runs no trial
        wrote = [answer.node.id for answer in answers if answer.value is not None and answer.value.word is not None]
        found = {who: meeting.read(who) for who in wrote}
    finally:
        with suppress(OSError, StorageFault):
            meeting.end([DRIVER, *(node.id for node in nodes)])
    return judge(answers, meeting.shared, found), [
        f"{answer.node} {answer.fault}" for answer in answers if answer.fault
    ]


def can_run(node: Node, cpus: float, gpus: float) -> bool:
    """Whether a node ever has room for a trial; a head often has none."""
    return node.cpus >= cpus and node.gpus >= gpus and node.cpus + node.gpus > 0


def needed_paths(spec: SweepSpec) -> list[str]:
    """What a worker reads besides the sweep's folder: corpus, data, encoders and teachers in folders."""
    names = [*values_of(spec, "encoder.name"), *values_of(spec, "teacher.name")]
    paths = [path for path in spec.train.data.corpus if path.startswith("/")]
    paths += [name for name in names if name is not None and name.startswith("/")]
    if spec.objective.task != "demo" and spec.data_folder is not None:
        paths.append(str(spec.data_folder.absolute()))
    return list(dict.fromkeys(paths))


def look(meeting: Meeting, word: str, paths: Sequence[str]) -> Seen:
    """On a node: read the driver's word, write one of its own, look for the paths."""
    import ray

    fault, written = visit(meeting, word, ray.get_runtime_context().get_node_id())
    return Seen(fault, written, tuple(path for path in paths if not Path(path).exists()))


def judge(answers: Iterable[Answer[Seen]], shared: str, found: Mapping[str, str | None]) -> list[Problem]:
    """What is wrong, a problem for each path and fault, with the nodes.

    Args:
        answers: of `look`; a node without an answer says nothing here.
        shared: the folder or the URI.
        found: node id → the word that the driver finds of it.
    """
    faults: dict[tuple[str, str], list[Node]] = {}
    for answer in answers:
        if answer.value is None:
            continue
        why = answer.value.fault
        if why is None and found.get(answer.node.id) != answer.value.word:
            why = "is another one: what is written there does not appear here"
        if why is not None:
            faults.setdefault((shared, why), []).append(answer.node)
        for path in answer.value.missing:
            faults.setdefault((path, "is not there"), []).append(answer.node)
    return [
        Problem(f"{path} {why} on {_listed(list(map(str, nodes)), ', ')}", key="--root" if path == shared else None)
        for (path, why), nodes in faults.items()
    ]


def _remedy(problems: Sequence[Problem], meeting: Meeting, argument: str) -> str:
    if any(problem.key == "--root" for problem in problems):
        return f"{meeting.remedy}, data at a path that every node sees, then the same command; nothing was started"
    shared = "a path that every node sees (NFS)"
    return f"put them at {shared}, name that, then the same command; for {shlex.quote(argument)} nothing was started"


def _listed(names: Sequence[str], between: str) -> str:
    more = f"{between}and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return between.join(names[:_NAMED]) + more
