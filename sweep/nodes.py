"""The nodes of a connected Ray cluster, and one question put to all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 20.0
"""For a worker to start on a busy node."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster as Ray knows it."""

    id: str
    """Ray's, in hex."""
    address: str
    host: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        """As a person finds it; the id tells apart nodes that share a machine."""
        where = self.address if self.host in ("", self.address) else f"{self.host}, {self.address}"
        return f"node {self.id[:8]} ({where})"


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a node answered, or why there is no answer: one of the two is None."""

    node: Node
    value: T | None
    fault: str | None = None


def alive(table: Sequence[Mapping[str, Any]]) -> list[Node]:
    """The living nodes in `ray.nodes()`, by address."""
    found = [
        Node(
            id=row["NodeID"],
            address=row["NodeManagerAddress"],
            host=row.get("NodeManagerHostname", ""),
            cpus=row["Resources"].get("CPU", 0.0),
            gpus=row["Resources"].get("GPU", 0.0),
        )
        for row in table
        if row["Alive"]
    ]
    return sorted(found, key=lambda node: (node.address, node.id))


def nodes_now() -> list[Node]:
    """The living nodes of the cluster that this process is connected to."""
    import ray

    return alive(ray.nodes())  # type: ignore[no-untyped-call]


def is_only_here(nodes: Sequence[Node]) -> bool:
    """Whether the cluster has no other machine than this process's. A `ray://` client is on none of the nodes."""
    import ray
    from ray.util.client import ray as client

    if client.is_connected():  # type: ignore[no-untyped-call]
        return False
    return [node.id for node in nodes] == [ray.get_runtime_context().get_node_id()]


def ask_nodes(
    question: Callable[..., T], *arguments: Any, nodes: Sequence[Node], timeout_s: float = 30.0
) -> list[Answer[T]]:
    """Call a function in a worker of every node, at once and however busy they are.

    Args:
        question: of a module that the workers can import.
        arguments: of the call.
        nodes: whom to ask.
        timeout_s: for all of them together; a worker starts in a second or two, and first gets the driver's code.

    Returns:
        In the order of `nodes`. A node that died meanwhile, did not answer in time or could not run the function has
        a `fault`, in one line.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = [
        ray.remote(question)
        .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
        .remote(*arguments)
        for node in nodes
    ]
    _, silent = ray.wait(asked, num_returns=len(asked), timeout=timeout_s) if asked else ([], [])
    for reference in silent:
        ray.cancel(reference, force=True)
    why = f"did not answer within {timeout_s:g} s"
    return [
        Answer(node, None, why) if reference in silent else _answer(node, reference)
        for node, reference in zip(nodes, asked, strict=True)
    ]


def gone_among(ids: Collection[str]) -> list[str]:
    """Which of the nodes of these ids are gone or out of reach; Ray itself may notice a minute later.

    A node that lives and does not answer within `_PATIENCE_S` is among them.
    """
    there = {node.id: node for node in nodes_now()}
    if dead := [each for each in ids if each not in there]:
        return dead
    answers = ask_nodes(_answer_at_all, nodes=[there[each] for each in ids], timeout_s=_PATIENCE_S)
    return [answer.node.id for answer in answers if answer.fault is not None]


def _answer_at_all() -> None:
    pass


def _answer(node: Node, reference: Any) -> Answer[Any]:
    import ray

    try:
        return Answer(node, ray.get(reference))
    except Exception as error:  # whatever the node lacks is what was asked for
        cause = getattr(error, "cause", None) or error
        said = str(cause).strip().splitlines()
        return Answer(node, None, f"{type(cause).__name__}: {said[-1] if said else 'no message'}")
