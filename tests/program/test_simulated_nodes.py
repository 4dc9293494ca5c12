"""Hundreds of trials placed on simulated nodes: no GPU is given twice."""

from __future__ import annotations

import itertools

import pytest

from sweep.errors import Refused
from sweep.placement import NodeSize
from sweep.resources import Cluster
from sweep.simulation.analytic import AnalyticWorld
from sweep.simulation.simulated_sweep import simulate_spec
from tests.unit.sweep.specs import ANALYTIC, load


def _overlapping(trials):
    """GPUs that two trials had at the same time, and every GPU with its trials' times."""
    by_gpu = {}
    for trial in trials:
        for place in trial.places:
            for gpu, _ in place.gpus:
                by_gpu.setdefault((place.node, gpu), []).append((trial.start, trial.end))
    twice = [gpu for gpu, spans in by_gpu.items() for one, two in itertools.pairwise(sorted(spans)) if two[0] < one[1]]
    return twice, by_gpu


def test_five_hundred_and_twelve_trials_at_once_lie_on_sixty_four_nodes_of_eight_gpus(tmp_path):
    changes = ("trials=600", "resources.gpus_per_worker=1")
    outcome = simulate_spec(
        load(tmp_path, ANALYTIC, *changes),
        AnalyticWorld((6400,)),
        slots=1,
        seed=0,
        cluster=Cluster((NodeSize(32, 8),) * 64),
    )
    assert len(outcome.trials) == 600
    overlapping, by_gpu = _overlapping(outcome.trials)
    assert not overlapping
    assert len(by_gpu) == 512
    events = sorted([(trial.start, 1) for trial in outcome.trials] + [(trial.end, -1) for trial in outcome.trials])
    assert max(itertools.accumulate(change for _, change in events)) == 512


def test_trials_of_several_workers_wait_for_room_for_all_of_them(tmp_path):
    changes = ("trials=30", "resources.gpus_per_worker=1", "resources.workers=3")
    cluster = Cluster((NodeSize(8, 4), NodeSize(8, 4)))
    outcome = simulate_spec(
        load(tmp_path, ANALYTIC, *changes), AnalyticWorld((6400,)), slots=1, seed=0, cluster=cluster
    )
    assert all(len(trial.places) == 3 for trial in outcome.trials)
    overlapping, by_gpu = _overlapping(outcome.trials)
    assert not overlapping
    assert {node for node, _ in by_gpu} == {0, 1}
    with pytest.raises(Refused, match="9 workers at once and there is room for 8"):
        simulate_spec(
            load(tmp_path, ANALYTIC, *changes, "resources.workers=9"),
            AnalyticWorld((6400,)), slots=1, seed=0, cluster=cluster,
        )  # fmt: skip
