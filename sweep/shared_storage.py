"""Whether the nodes of a cluster see the driver's files: before a trial, not when it fails.

A path that exists on every node proves nothing: each may have a folder of its own there. So the driver writes a random
word, which every node must read, and every node writes one, which the driver must read.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import Problem, Refused, Unreachable
from sweep.nodes import Answer, Node, ask_nodes, is_only_here, nodes_now
from sweep.resources import asks_of
from sweep.spec.misfits import values_of

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_NAMED = 4
"""Nodes that a message names; of more it gives the number."""
_DRIVER = "driver"


@dataclass(frozen=True)
class Seen:
    """What one node sees.

    Attributes:
        folder: What is wrong with the shared folder there; None when the driver's word was read.
        word: What the node wrote beside it, for the driver to find; None when it could not.
        missing: The paths that are not there.
    """

    folder: str | None
    word: str | None
    missing: tuple[str, ...]


def check_shared(spec: SweepSpec, folder: Path | None, argument: str, timeout_s: float = 30.0) -> None:
    """Refuse a sweep on a connected cluster whose nodes do not see its folder or its data.

    Args:
        spec: what is trained on and scored.
        folder: the sweep's, in which workers write; None where the record is kept at a URI.
        argument: what a command calls the sweep.
        timeout_s: for the nodes to answer.

    Raises:
        Refused: nodes, paths and what to do.
        Unreachable: every node that answers sees them, and one does not answer.
    """
    asks = asks_of(spec.resources).values()
    nodes = [node for node in nodes_now() if any(can_run(node, ask.cpus, ask.gpus) for ask in asks)]
    problems, silent = find_unshared(folder, needed_paths(spec), nodes, timeout_s)
    if problems:
        raise Refused(problems, next=_remedy(problems, argument))
    if silent:
        message = f"whether all nodes see the sweep's files is not known: {_listed(silent, '; ')}"
        raise Unreachable([Problem(message, key="--address")], next="ray status, then the same command")


def find_unshared(
    folder: Path | None, paths: Sequence[str], nodes: Sequence[Node], timeout_s: float = 30.0
) -> tuple[list[Problem], list[str]]:
    """What some of the nodes do not see, and the nodes that did not answer, each with its reason.

    Args:
        folder: to be shared, and written by all; a hidden folder is made in it for the time of this call. None: no.
        paths: to be there.
        nodes: of the connected cluster; this machine alone is not asked.
        timeout_s: for all of them to answer.
    """
    if is_only_here(nodes):
        return [], []
    meeting = None if folder is None else folder / f".shared-{secrets.token_hex(8)}"
    try:
        word = "" if meeting is None else _write_word(meeting, _DRIVER)
        place = None if meeting is None else str(meeting)
        answers = ask_nodes(look, place, word, paths, nodes=nodes, timeout_s=timeout_s)
        there = {node.id for node in nodes_now()}
        answers = [answer for answer in answers if answer.node.id in there]  # one that left runs no trial
        found = {} if meeting is None else {path.name: path.read_text() for path in meeting.iterdir()}
    finally:
        if meeting is not None:
            shutil.rmtree(meeting, ignore_errors=True)
    return judge(answers, folder, found), [f"{answer.node} {answer.fault}" for answer in answers if answer.fault]


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


def look(meeting: str | None, word: str, paths: Sequence[str]) -> Seen:
    """On a node: read the driver's word, write one of its own, look for the paths."""
    import ray

    missing = tuple(path for path in paths if not Path(path).exists())
    if meeting is None:
        return Seen(None, None, missing)
    folder = Path(meeting)
    try:
        if not folder.parent.is_dir():
            return Seen("is not there", None, missing)
        if not folder.is_dir() or (folder / _DRIVER).read_text() != word:
            return Seen("is another folder of the same name", None, missing)
        written = _write_word(folder, ray.get_runtime_context().get_node_id())
    except OSError as error:
        return Seen(f"cannot be used: {error.strerror or error}", None, missing)
    return Seen(None, written, missing)


def judge(answers: Iterable[Answer[Seen]], folder: Path | None, found: dict[str, str]) -> list[Problem]:
    """What is wrong, a problem for each path and fault, with the nodes.

    Args:
        answers: of `look`; a node without an answer says nothing here.
        folder: the sweep's.
        found: node id → the word that the driver finds of it.
    """
    faults: dict[tuple[str, str], list[Node]] = {}
    for answer in answers:
        if answer.value is None:
            continue
        why = answer.value.folder
        if folder is not None and why is None and found.get(answer.node.id) != answer.value.word:
            why = "is another folder: what is written there does not appear here"
        if why is not None:
            faults.setdefault((str(folder), why), []).append(answer.node)
        for path in answer.value.missing:
            faults.setdefault((path, "is not there"), []).append(answer.node)
    return [
        Problem(f"{path} {why} on {_listed(list(map(str, nodes)), ', ')}", key=_key(path, folder))
        for (path, why), nodes in faults.items()
    ]


def _write_word(folder: Path, name: str) -> str:
    word = secrets.token_hex(16)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(word)
    return word


def _key(path: str, folder: Path | None) -> str | None:
    return "--root" if path == str(folder) else None


def _remedy(problems: Sequence[Problem], argument: str) -> str:
    shared = "a path that every node sees (NFS)"
    if any(problem.key == "--root" for problem in problems):
        return f"the same command with --root {shared}, or a URI (s3://BUCKET/FOLDER); data at such a path too"
    return f"put them at {shared}, name that, then the same command; for {shlex.quote(argument)} nothing was started"


def _listed(names: Sequence[str], between: str) -> str:
    more = f"{between}and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return between.join(names[:_NAMED]) + more
