"""How far a cluster may grow, from the file that Ray's launcher leaves on its head."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from sweep.growth import most_nodes
from sweep.placement import Ask, NodeSize, fitting

LAUNCHER = YAML(typ="safe").load((Path(__file__).parents[3] / "cluster.yaml").read_text(encoding="utf-8"))


def test_eight_gpu_workers_and_a_head_without_cpus_take_eight_trials():
    """As `ray up` has filled the file in: AWS knows what an instance of that type has."""
    kinds = LAUNCHER["available_node_types"]
    filled = kinds | {"gpu_worker": kinds["gpu_worker"] | {"resources": {"CPU": 4, "GPU": 1}}}
    nodes = most_nodes(LAUNCHER | {"available_node_types": filled}, 1)
    assert nodes == (NodeSize(0, 0), *[NodeSize(4, 1)] * 8)
    assert fitting(Ask(1, 2, 1), nodes) == 8
    assert fitting(Ask(9, 1, 1), nodes) == 0


def test_what_the_file_does_not_say_nobody_knows():
    assert most_nodes(LAUNCHER, 1) is None, "resources that the cloud would fill in"
    assert most_nodes({}, 1) is None


def test_given_hosts_are_all_that_there_will_be_once_they_are_there():
    onprem = YAML(typ="safe").load((Path(__file__).parents[3] / "deploy" / "onprem.yaml").read_text(encoding="utf-8"))
    hosts = len(onprem["provider"]["worker_ips"])
    assert most_nodes(onprem, 1 + hosts) == ()
    assert most_nodes(onprem, hosts) is None, "one has not joined, and what it has nobody knows"
