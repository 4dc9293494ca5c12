"""How many trials fit at once, and with how many threads."""

from __future__ import annotations

import pytest
from ray._private.utils import _get_docker_cpus

from sweep.errors import Refused
from sweep.placement import Ask, NodeSize
from sweep.resources import Cluster, ask_of, cpus_here, has_room, slots, threads
from sweep.spec.sections import Case, Resources


@pytest.mark.parametrize("quota", ["200000 100000", "350000 100000", "9900000 100000", "max 100000", None])
def test_a_containers_quota_counts_as_ray_counts_it(quota, tmp_path, monkeypatch):
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(f"{quota}\n")
    monkeypatch.setattr("sweep.resources._CPU_QUOTA", path)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    rays = _get_docker_cpus("/no/file", "/no/file", "/no/file", str(path))
    assert cpus_here() == (16 if rays is None else min(16, int(rays)))


@pytest.mark.parametrize(
    ("cpus", "gpus", "concurrent", "cluster", "fit"),
    [
        (1, 0, None, Cluster.here(4, 0), 4),
        (2, 0, None, Cluster.here(5, 0), 2),
        (0.5, 0, None, Cluster.here(2, 0), 4),
        (2, 0, None, Cluster.here(2, 0), 1),
        (1, 0, 3, Cluster.here(8, 0), 3),
        (1, 0, 20, Cluster.here(8, 0), 8),
        (1, 0, None, Cluster.here(8, 4), 8),
        (1, 1, None, Cluster.here(8, 4), 4),
        (1, 2, None, Cluster.here(8, 5), 2),
        (1, 0.25, None, Cluster.here(16, 2), 8),
        (1, 0.4, None, Cluster.here(16, 2), 4),  # two a GPU: no trial lies on two
        (1, 0.6, None, Cluster.here(16, 4), 4),
        (4, 0.25, None, Cluster.here(8, 2), 2),
        (1, 0.25, 5, Cluster.here(16, 2), 5),
        # In binary 7 ÷ 0.07 is a little less than 100, and 49 × (1 ÷ 49) than 1.
        (0.07, 0, None, Cluster.here(7, 0), 100),
        (1, 49, None, Cluster.here(98, 98), 2),
    ],
)
def test_as_many_trials_as_fit_and_as_are_wanted(cpus, gpus, concurrent, cluster, fit):
    assert slots(Resources(cpus_per_worker=cpus, gpus_per_worker=gpus, concurrent=concurrent), cluster) == fit


@pytest.mark.parametrize(
    ("cpus", "gpus", "keys"),
    [
        (3, 0, ["resources.cpus_per_worker"]),
        (2.5, 0, ["resources.cpus_per_worker"]),
        (1, 0.1, ["resources.gpus_per_worker"]),
        (4, 1, ["resources.cpus_per_worker", "resources.gpus_per_worker"]),
    ],
)
def test_a_trial_that_cannot_fit_is_refused_with_everything_that_is_short(cpus, gpus, keys):
    with pytest.raises(Refused) as refused:
        slots(Resources(cpus_per_worker=cpus, gpus_per_worker=gpus), Cluster.here(2, 0))
    assert [problem.key for problem in refused.value.problems] == keys
    for asked, key in ((cpus, "resources.cpus_per_worker"), (gpus, "resources.gpus_per_worker")):
        said = [problem.message for problem in refused.value.problems if problem.key == key]
        assert all(f"asks {asked:g} " in message for message in said)
    assert "resources." in refused.value.next


@pytest.mark.parametrize(("cpus", "expected"), [(1, 1), (4, 4), (0.25, 1), (2.5, 2)])
def test_a_worker_has_as_many_threads_as_whole_cpus_and_at_least_one(cpus, expected):
    assert threads(Ask(1, cpus, 0)) == expected


NODES = Cluster((NodeSize(16, 8), NodeSize(16, 8), NodeSize(4, 0)))


@pytest.mark.parametrize(
    ("asked", "key", "said"),
    [
        (
            {"workers": 17, "gpus_per_worker": 1},
            "resources.workers",
            "asks 17 workers at once and there is room for 16",
        ),
        ({"workers": 2, "gpus_per_worker": 9}, "resources.gpus_per_worker", "on the largest node there are 8"),
        ({"cpus_per_worker": 20}, "resources.cpus_per_worker", "on the largest node there are 16"),
        (
            {"cpus_per_worker": 6, "gpus_per_worker": 1, "workers": 5},
            "resources.workers",
            "asks 5 workers at once and there is room for 4",
        ),
        (
            {"cases": (Case(when={"optim.batch_size": (512,)}, workers=64),)},
            "resources.cases[0].workers",
            "asks 64 workers at once and there is room for 36",
        ),
    ],
)
def test_what_no_node_or_not_all_nodes_together_can_give_is_refused(asked, key, said):
    with pytest.raises(Refused) as refused:
        slots(Resources(**asked), NODES)
    (problem,) = refused.value.problems
    assert problem.key == key
    assert said in problem.message


def test_what_a_cluster_may_grow_to_counts_and_where_nobody_knows_nothing_is_refused():
    asked = Resources(workers=8, gpus_per_worker=1)
    assert slots(asked, Cluster((NodeSize(4, 0),), most=(NodeSize(4, 0), *[NodeSize(4, 1)] * 8))) == 0, "none fits yet"
    assert slots(asked, Cluster((NodeSize(4, 0),), most=None)) == 0
    with pytest.raises(Refused):
        slots(asked, Cluster((NodeSize(4, 0),), most=(NodeSize(4, 0), *[NodeSize(4, 1)] * 7)))


def test_nodes_that_are_there_count_where_the_launchers_file_is_older():
    assert slots(Resources(workers=2, gpus_per_worker=1), Cluster((NodeSize(8, 4),), most=(NodeSize(4, 1),))) == 2


def test_cpus_on_one_node_and_gpus_on_another_are_no_room_and_no_impossible_change_is_proposed():
    apart = Cluster((NodeSize(16, 0), NodeSize(2, 4)))
    with pytest.raises(Refused, match="no node has the 4 CPUs and the 1 GPUs that a worker asks, both") as refused:
        slots(Resources(cpus_per_worker=4, gpus_per_worker=1), apart)
    assert "--set" not in refused.value.next
    with pytest.raises(Refused) as refused:
        slots(Resources(), Cluster((NodeSize(0, 0),)))
    assert "--set" not in refused.value.next, "no trial takes 0 CPUs"


CASES = Resources(
    gpus_per_worker=0.25,
    cases=(
        Case(when={"optim.batch_size": {"low": 256}}, gpus_per_worker=1),
        Case(when={"optim.batch_size": {"low": 512}, "encoder.name": ("large",)}, workers=4, gpus_per_worker=1),
    ),
)


@pytest.mark.parametrize(
    ("batch", "encoder", "takes"),
    [
        (128, "large", Ask(1, 1, 0.25)),
        (256, "large", Ask(1, 1, 1)),
        (512, "small", Ask(1, 1, 1)),
        (512, "large", Ask(4, 1, 1)),
    ],
)
def test_a_trial_takes_what_the_last_case_that_holds_says(batch, encoder, takes):
    assert ask_of(CASES, {"optim.batch_size": batch, "encoder.name": encoder}) == takes


def test_of_two_cases_that_hold_the_last_one_alone_counts():
    wide = Case(when={"optim.batch_size": {"low": 128}}, cpus_per_worker=16, gpus_per_worker=0.5)
    large = Case(when={"optim.batch_size": {"low": 512}}, workers=4)
    asked = Resources(cases=(wide, large))
    assert ask_of(asked, {"optim.batch_size": 512}) == Ask(4, 1, 0)
    assert ask_of(asked, {"optim.batch_size": 511}) == Ask(1, 16, 0.5)


def test_no_value_lies_within_no_bounds():
    asked = Resources(cases=(Case(when={"encoder.dropout": {"low": 0.0, "high": 1.0}}, workers=2),))
    assert [ask_of(asked, {"encoder.dropout": value}).workers for value in (None, 0.0, 0.1)] == [1, 2, 2]


def test_a_machine_has_room_while_one_more_of_the_smallest_fits():
    two_gpus = Cluster.here(16, 2)
    quarter, whole = Ask(1, 1, 0.25), Ask(1, 1, 1)
    assert has_room(CASES, [whole, *[quarter] * 3], two_gpus, grows=False)
    assert not has_room(CASES, [whole, *[quarter] * 4], two_gpus, grows=False)
    assert not has_room(CASES, [Ask(4, 1, 1)], two_gpus, grows=False), "it fits nowhere, so nothing passes it"


def test_on_a_cluster_one_waits_or_as_many_as_are_wanted_at_once():
    asked, one = Resources(), Ask(1, 1, 0)
    cluster = Cluster.here(2, 0)
    assert [has_room(asked, [one] * count, cluster, grows=True) for count in (1, 2, 3)] == [True, True, False]
    wanted = Resources(concurrent=5)
    assert [has_room(wanted, [one] * count, cluster, grows=True) for count in (4, 5)] == [True, False]
    grown = Cluster((NodeSize(2, 0),), most=(NodeSize(2, 0),) * 4)
    assert [has_room(asked, [one] * count, grown, grows=True) for count in (8, 9)] == [True, False]
