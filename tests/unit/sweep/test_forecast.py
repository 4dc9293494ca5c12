"""How many trials are expected where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from sweep.forecast import bracket_shares, expected_total, reaching
from sweep.spec.sweep_spec import SweepSpec, rungs
from tests.unit.sweep.specs import load


def spec_of(folder: Path, scheduler: str) -> SweepSpec:
    text = "name: s\nobjective: {task: demo}\ntrials: 64\ntrain: {budget: {sentences: 6400}}\n"
    return load(folder, f"{text}search: {{loss.temperature: {{low: 0.01, high: 0.1}}}}\nscheduler: {scheduler}\n")


def expected(folder: Path, scheduler: str) -> tuple[float | None, ...]:
    spec = spec_of(folder, scheduler)
    return reaching(spec, 64, len(rungs(spec)))


def test_asha_lets_one_in_so_many_go_on_and_at_least_one(tmp_path: Path) -> None:
    assert expected(tmp_path, "{name: asha, grace: 400, reduction_factor: 4}") == (64, 16, 4)
    assert expected(tmp_path, "{name: asha, grace: 100, reduction_factor: 8}") == (64, 8, 1)


@pytest.mark.parametrize("brackets", [1, 2, 3])
def test_brackets_are_drawn_as_ray_draws_them(brackets: int) -> None:
    sizes = [len(one._rungs) for one in AsyncHyperBandScheduler("t", "m", "max", 6400, 400, 4, brackets)._brackets]
    weights = np.exp(sizes)
    assert bracket_shares(brackets) == pytest.approx(weights / weights.sum())


def test_hyperband_stops_the_trials_of_a_bracket_at_its_own_rungs_only(tmp_path: Path) -> None:
    scheduler = AsyncHyperBandScheduler("t", "m", "max", 6400, 100, 4, 3)
    passed = {100: 0.0, 400: 0.0, 1600: 0.0, 6400: 0.0}
    for share, bracket in zip(bracket_shares(3), scheduler._brackets, strict=True):
        alive = 64 * share
        for rung in passed:
            passed[rung] += alive
            alive /= 4 if rung in [milestone for milestone, _ in bracket._rungs] else 1
    found = expected(tmp_path, "{name: hyperband, grace: 100, reduction_factor: 4, brackets: 3}")
    assert found == pytest.approx(tuple(passed.values()))


def test_without_a_scheduler_all_arrive_and_of_the_median_nobody_knows(tmp_path: Path) -> None:
    assert expected(tmp_path, "{name: none}") == (64,)
    assert expected(tmp_path, "{name: none, grace: 400, reduction_factor: 4}") == (64, 64, 64)
    assert expected(tmp_path, "{name: median, grace: 400, reduction_factor: 4}") == (64, None, None)


def test_the_total_is_what_each_trial_passes_by_itself() -> None:
    each = [100] * 12 + [400] * 3 + [1600]  # where each of 16 trials ends
    assert expected_total((100, 400, 1600), (16, 4, 1)) == sum(each)
    assert expected_total((100, 400), (16, None)) is None
