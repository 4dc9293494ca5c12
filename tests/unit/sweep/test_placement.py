"""Trials on nodes: what is placed, checked against counting by hand and against what every node has."""

from __future__ import annotations

import numpy as np
import pytest

from sweep.placement import Ask, NodeSize, Placement, fit, fitting


def test_five_hundred_and_twelve_trials_of_a_gpu_fill_sixty_four_nodes_of_eight():
    nodes = (NodeSize(32, 8),) * 64
    placement, taken = Placement(nodes), []
    while (places := placement.place(Ask(1, 4, 1))) is not None:
        taken += [(place.node, *gpu) for place in places for gpu in place.gpus]
    assert len(taken) == len(set(taken)) == 512, "no GPU twice"
    assert {(node, gpu) for node, gpu, _ in taken} == {(node, gpu) for node in range(64) for gpu in range(8)}


def test_the_workers_of_a_trial_lie_on_one_node_when_one_has_room():
    placement = Placement((NodeSize(8, 1), NodeSize(8, 4)))
    places = placement.place(Ask(4, 1, 1))
    assert [place.node for place in places] == [1, 1, 1, 1]
    spread = Placement((NodeSize(8, 1), NodeSize(8, 2))).place(Ask(3, 1, 1))
    assert sorted(place.node for place in spread) == [0, 1, 1], "else on as many as it takes"


def test_fractions_share_a_gpu_and_no_worker_lies_on_two():
    placement = Placement((NodeSize(16, 2),))
    on = [placement.place(Ask(1, 1, 0.4))[0].gpus[0][0] for _ in range(4)]
    assert sorted(on) == [0, 0, 1, 1]
    assert placement.place(Ask(1, 1, 0.4)) is None
    assert placement.place(Ask(1, 1, 0.2)) is not None


def test_what_does_not_fit_takes_nothing():
    placement = Placement((NodeSize(4, 2),))
    assert placement.place(Ask(3, 1, 1)) is None
    assert placement.place(Ask(2, 2, 1)) is not None


@pytest.mark.parametrize("seed", range(20))
def test_no_node_is_ever_given_away_twice_and_what_is_freed_can_be_had_again(seed):
    rng = np.random.default_rng(seed)
    nodes = tuple(NodeSize(float(rng.integers(1, 17)), float(rng.integers(0, 5))) for _ in range(rng.integers(1, 6)))
    placement, open_trials = Placement(nodes), []
    for _ in range(200):
        if open_trials and rng.random() < 0.4:
            placement.free(open_trials.pop(rng.integers(len(open_trials)))[1])
            continue
        gpus = float(rng.choice([0, 0.25, 0.5, 1, 2]))
        ask = Ask(int(rng.integers(1, 4)), float(rng.choice([0.5, 1, 2])), gpus)
        if (places := placement.place(ask)) is not None:
            assert len(places) == ask.workers
            open_trials.append((ask, places))
        for number, node in enumerate(nodes):
            here = [(ask, place) for ask, places in open_trials for place in places if place.node == number]
            assert sum(ask.cpus for ask, _ in here) <= node.cpus
            for gpu in range(int(node.gpus)):
                assert sum(units for _, place in here for which, units in place.gpus if which == gpu) <= 10_000
    for _, places in open_trials:
        placement.free(places)
    assert all(placement.place(Ask(1, node.cpus, node.gpus)) is not None for node in sorted(nodes, key=_size))


def _size(node):
    return (-node.gpus, -node.cpus)


def test_counting_as_ray_counts_in_ten_thousandths():
    assert fitting(Ask(1, 0.07, 0), (NodeSize(7, 0),)) == 100
    assert fitting(Ask(2, 1, 1), (NodeSize(8, 3), NodeSize(8, 3))) == 3
    assert fitting(Ask(1, 1, 1), (NodeSize(8, 0),)) == 0


def test_several_kinds_fit_together_the_largest_first():
    nodes = (NodeSize(8, 2),)
    assert fit((Ask(1, 1, 0.5), Ask(1, 1, 1), Ask(1, 1, 0.5)), nodes)
    assert not fit((Ask(1, 1, 0.5), Ask(1, 1, 1), Ask(1, 1, 0.6)), nodes)
