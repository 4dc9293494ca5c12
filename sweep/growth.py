"""What a cluster has, and how far it may grow: an autoscaler starts nodes for what waits; Ray does not say how many.

Ray's cluster launcher leaves its file on the head, with the resources of every kind of node; KubeRay's autoscaler keeps
its own beside the pod, out of reach.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.nodes import nodes_now
from sweep.placement import NodeSize
from sweep.resources import Cluster, check_possible

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_LAUNCHERS_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` puts it (ray/autoscaler/_private/commands.py)."""
_MOST_NODES = 1000
_ANSWER_S = 60.0


def cluster_now() -> Cluster:
    """What the Ray of this process has at this moment."""
    return Cluster(tuple(NodeSize(node.cpus, node.gpus) for node in nodes_now()))


def growing_cluster() -> Cluster:
    """What the cluster has that this process is connected to, and all that it may have."""
    import ray

    now = cluster_now()
    asking = ray.remote(_said_on_head).options(num_cpus=0, resources={"node:__internal_head__": 0.001})
    try:
        said = ray.get(asking.remote(), timeout=_ANSWER_S)
    except ray.exceptions.GetTimeoutError:
        return Cluster(now.nodes, most=None)
    return Cluster(now.nodes, most=() if said is None else most_nodes(said, len(now.nodes)))


def check_fits(spec: SweepSpec, address: str) -> None:
    """Whether every trial can be placed on the cluster of an address, as it is or may become.

    Raises:
        Refused: some never can.
        Unreachable: nothing answers there.
    """
    from tempfile import TemporaryDirectory

    from sweep.driver import ray_session

    with (
        TemporaryDirectory(prefix="stsweep-check-") as scratch,
        ray_session(address, Path(scratch) / "code") as cluster,
    ):
        check_possible(spec.resources, cluster)


def _said_on_head() -> Mapping[str, Any] | None:
    """The launcher's file, empty on Kubernetes; None where the cluster does not grow. Runs on the head."""
    path = _LAUNCHERS_FILE.expanduser()
    if path.exists():
        from ruamel.yaml import YAML

        said: Mapping[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        return said
    return {} if "KUBERNETES_SERVICE_HOST" in os.environ else None


def most_nodes(launcher: Mapping[str, Any], there: int) -> tuple[NodeSize, ...] | None:
    """The nodes that a launcher's file allows of each kind, not of all kinds together; None where it does not say.

    Of given hosts it does not say what they have: none more (an empty tuple) where as many nodes are `there`.
    """
    hosts = (launcher.get("provider") or {}).get("worker_ips")
    if hosts and there > len(hosts):
        return ()
    kinds, limit = launcher.get("available_node_types") or {}, launcher.get("max_workers")
    if not kinds or limit is None:
        return None
    head = launcher.get("head_node_type")
    found: list[NodeSize] = []
    for name, kind in kinds.items():
        resources = kind.get("resources") or {}
        if not resources:  # the cloud knows, and the launcher has not written it down
            return None
        count = 1 if name == head else min(int(kind.get("max_workers", limit)), int(limit), _MOST_NODES)
        found += [NodeSize(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))] * count
    return tuple(found)
