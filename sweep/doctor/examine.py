"""`stsweep doctor`: asks this machine, what a driver needs, and with an address every node; the lines of all."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sweep.address import cluster_address
from sweep.cluster import cluster_problem
from sweep.doctor.facts import Facts, clock, collect, existing
from sweep.doctor.judge import LEVELS, Line, judge_clock, judge_machine, judge_own_versions, judge_versions, worst
from sweep.doctor.surroundings import hub_line, root_line, token_line, tracking_lines
from sweep.driver import RELIED_ON, ray_session
from sweep.errors import Exit, Refused, Unreachable
from sweep.meeting import meeting_in
from sweep.nodes import Answer, Node, ask_nodes, nodes_now
from sweep.object_store.root import root_folder
from sweep.object_store.uri import is_uri
from sweep.shared_storage import find_unshared

_ROUNDS = 3
"""Of asking a node's clock; the quickest counts."""
_CLOCK_S = 5.0
_MARK = {"ok": "ok  ", "warn": "warn", "bad": "bad "}


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        address: The cluster that was asked; None for this machine alone, and where there is no such address.
        lines: Everything that was looked at.
        is_reachable: Whether the cluster answered; True without one.
    """

    address: str | None
    lines: tuple[Line, ...]
    is_reachable: bool = True

    @property
    def exit_code(self) -> Exit:
        if not self.is_reachable:
            return Exit.UNREACHABLE
        return Exit.REFUSED if worst(self.lines) == "bad" else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """`{address, reachable, worst, lines: [{level, check, where, found, remedy}]}`; keys are never left out."""
        return {
            "address": self.address,
            "reachable": self.is_reachable,
            "worst": worst(self.lines),
            "lines": [line.to_json() for line in self.lines],
        }

    def to_text(self) -> str:
        wide = max((len(line.check) for line in self.lines), default=0)
        text, where = [], None
        for line in self.lines:
            if line.where != where:
                where = line.where
                text.append(f"{where}:")
            text.append(f"  {_MARK[line.level]}  {line.check:{wide}}  {line.found}")
            if line.remedy and line.level != "ok":
                text.append(f"        {'':{wide}}  → {line.remedy}")
        count = {level: sum(line.level == level for line in self.lines) for level in LEVELS}
        text.append(", ".join(f"{count[level]} {level}" for level in LEVELS))
        is_bad = worst(self.lines) == "bad"
        text.append("Next: mend what is bad, then: stsweep doctor" if is_bad else "Next: stsweep check SPEC")
        return "\n".join(text)


def examine(address: str | None, root: str, *, timeout_s: float = 30.0) -> Examination:
    """Look at this machine, and at every node of the cluster at `address`.

    Args:
        address: a Ray cluster, as it was given; None: no Ray is started.
        root: a folder or a URI, as it was given.
        timeout_s: for all nodes to answer.
    """
    folder = None if is_uri(root) else Path(root)  # a store is no disk, and every node has copies of its own
    facts, lines = _here(root, folder)
    cluster = None
    try:
        cluster = cluster_address(address)
        if problem := cluster_problem(cluster):
            raise Unreachable([problem], next="ray status, on the head")
        if cluster is not None:
            with TemporaryDirectory(prefix="stsweep-doctor-") as scratch, ray_session(cluster, Path(scratch) / "code"):
                lines += _nodes(facts, root, folder, timeout_s)
    except Refused as refused:
        bad = [Line("bad", "cluster", "here", each.message, each.remedy or refused.next) for each in refused.problems]
        return Examination(cluster, (*lines, *bad), is_reachable=not isinstance(refused, Unreachable))
    return Examination(cluster, tuple(lines))


def _here(root: str, folder: Path | None) -> tuple[Facts, list[Line]]:
    """This machine's facts and lines; whatever waits for a network waits at once."""
    asked: list[Callable[[], list[Line]]] = [
        lambda: [root_line(root)],
        lambda: [token_line()],
        lambda: list(tracking_lines(folder)),
        lambda: [hub_line()],
    ]
    with ThreadPoolExecutor(len(asked) + 1) as pool:
        machine = pool.submit(collect, str(folder) if folder else None)
        answers = [pool.submit(each) for each in asked]
        facts = machine.result()
        lines = [judge_own_versions(facts), *judge_machine(facts, "here", RELIED_ON)]
        return facts, [*lines, *(line for answer in answers for line in answer.result())]


def _nodes(here: Facts, root: str, folder: Path | None, timeout_s: float) -> Iterator[Line]:
    nodes = nodes_now()
    print(f"asking {len(nodes)} nodes", file=sys.stderr)
    answers = ask_nodes(collect, str(folder) if folder else None, nodes=nodes, timeout_s=timeout_s)
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    yield Line("ok", "cluster", "here", f"{len(nodes)} nodes: {cpus:g} CPUs, {gpus:g} GPUs")
    yield from _shared(root, [answer.node for answer in answers if answer.value is not None], timeout_s)
    for answer in answers:
        yield from _node(answer, here)


def _shared(root: str, nodes: Sequence[Node], timeout_s: float) -> Iterator[Line]:
    """Whether the root is the same on all nodes; of nodes that do not answer their own line says it."""
    try:
        meeting = meeting_in(existing(root_folder(root)))
        problems, _ = find_unshared(meeting, [], nodes, timeout_s)
    except Refused as fault:
        yield Line("bad", "shared root", "here", fault.problems[0].message, fault.next)
        return
    except OSError as error:
        yield Line("bad", "shared root", "here", f"{root} cannot be written: {error.strerror}", "another --root")
        return
    yield from (Line("bad", "shared root", "here", problem.message, meeting.remedy) for problem in problems)
    if not problems:
        yield Line("ok", "shared root", "here", f"{meeting.shared} is the same on every node")


def _node(answer: Answer[Facts], here: Facts) -> Iterator[Line]:
    where = str(answer.node)
    if answer.value is None:
        yield Line("bad", "node", where, answer.fault or "", "ray status; its logs are in /tmp/ray/session_latest/logs")
        return
    offset_s, uncertain_s = _clock(answer.node)
    yield judge_versions(answer.value, where, here)
    yield judge_clock(where, offset_s, uncertain_s)
    yield from judge_machine(answer.value, where, {})


def _clock(node: Node) -> tuple[float, float]:
    """Seconds by which a node's clock is ahead, and half of the round trip; infinitely unsure without an answer."""
    found = []
    for _ in range(_ROUNDS):
        begin = time.time()
        (answer,) = ask_nodes(clock, nodes=[node], timeout_s=_CLOCK_S)
        end = time.time()
        if answer.value is not None:
            found.append(((end - begin) / 2, answer.value - (begin + end) / 2))
    uncertain_s, offset_s = min(found, default=(math.inf, 0.0))
    return offset_s, uncertain_s
