"""How many trials are expected where."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from sweep.forecast import bracket_shares, expected_total, passing, reaching
from sweep.spec.sweep_spec import SweepSpec, rungs
from tests.unit.sweep.specs import load


def spec_of(folder: Path, scheduler: str) -> SweepSpec:
    text = "name: s\nobjective: {task: demo}\ntrials: 64\ntrain: {budget: {sentences: 6400}}\n"
    return load(folder, f"{text}search: {{loss.temperature: {{low: 0.01, high: 0.1}}}}\nscheduler: {scheduler}\n")


def expected(folder: Path, scheduler: str) -> tuple[float | None, ...]:
    spec = spec_of(folder, scheduler)
    return reaching(spec, 64, len(rungs(spec)))


def ray_passing(scores: list[float], brackets: list[int], factor: float, rungs: int) -> list[int]:
    """The same trials judged by Ray's own brackets; a millionth below the end, where Ray would have one rung more."""
    made = [_Bracket(100, 100 * factor ** (rungs - 1) - 1e-6, factor, bracket) for bracket in range(3)]
    counts = [0] * rungs
    for number, (score, bracket) in enumerate(zip(scores, brackets, strict=True)):
        trial = SimpleNamespace(trial_id=str(number))
        for rung in range(rungs):
            counts[rung] += 1
            if rung < rungs - 1:
                milestone = 100 * factor**rung
                if made[bracket].on_result(trial, milestone, score) == TrialScheduler.STOP:
                    break
    return counts


@pytest.mark.parametrize("factor", [1.5, 3.0, 4.0])
@pytest.mark.parametrize("brackets", [1, 3])
def test_on_the_same_scores_as_many_pass_as_ray_lets_pass(factor: float, brackets: int) -> None:
    for seed in range(5):
        random = Random(seed)
        scores = [random.random() for _ in range(60)]
        drawn = [random.randrange(brackets) for _ in scores]
        assert passing(scores, drawn, factor, 4) == ray_passing(scores, drawn, factor, 4)


def test_the_expected_are_the_mean_of_rays_over_many_random_sweeps(tmp_path: Path) -> None:
    random = Random(1)
    sweeps = [ray_passing([random.random() for _ in range(64)], [0] * 64, 4, 3) for _ in range(100)]
    found = expected(tmp_path, "{name: asha, grace: 400, reduction_factor: 4}")
    mean, error = np.mean(sweeps, axis=0), np.std(sweeps, axis=0) / np.sqrt(100)
    assert (np.abs(np.array(found, dtype=float) - mean) <= 4 * error).all()


@pytest.mark.parametrize("trials", [1, 2, 3, 64, 5_000])
def test_as_many_pass_the_first_rung_as_order_statistics_say(tmp_path: Path, trials: int) -> None:
    # The n scores before it leave n + 1 gaps, equally long on average; the cutoff is 0.75 (n - 1) above the least.
    exact = 1 + sum(1 - (1 + 0.75 * (before - 1)) / (before + 1) for before in range(1, trials))
    spec = spec_of(tmp_path, "{name: asha, grace: 1600, reduction_factor: 4}")
    first, second = reaching(spec, trials, 2)
    assert first == trials and second == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize(
    ("trials", "counts"),
    [(5_000, (5_000, 1_254.9, 321.7, 97.0, 42.3)), (20_000, (20_000, 5_006.8, 1_266.9, 335.0, 110.1))],
)
def test_of_a_long_sweep_as_many_come_to_each_rung_as_by_rays_own_scheduler(
    tmp_path: Path, trials: int, counts: tuple[float, ...]
) -> None:
    # Means over 60 and 12 sweeps of random scores by ASHAScheduler of ray 2.60, which takes minutes; standard errors
    # of the last 4 % and 5 %. Five thousand are run whole here, the second half of these goes on to twenty thousand.
    spec = spec_of(tmp_path, "{name: asha, grace: 100, reduction_factor: 4}")
    assert reaching(spec, trials, 5) == pytest.approx(counts, rel=0.15)


@pytest.mark.parametrize(("trials", "rungs", "seconds"), [(60, 5, 0.15), (10**9, 2, 1.0), (10**6, 50, 1.0)])
def test_a_forecast_takes_a_tenth_of_a_second_and_of_any_sweep_less_than_one(
    tmp_path: Path, trials: int, rungs: int, seconds: float
) -> None:
    spec = spec_of(tmp_path, "{name: hyperband, grace: 100, reduction_factor: 3, brackets: 3}")
    begin = time.process_time()
    reaching(spec, trials, rungs)
    assert time.process_time() - begin < seconds


@pytest.mark.parametrize("brackets", [1, 2, 3])
def test_brackets_are_drawn_as_ray_draws_them(brackets: int) -> None:
    sizes = [len(one._rungs) for one in AsyncHyperBandScheduler("t", "m", "max", 6400, 400, 4, brackets)._brackets]
    weights = np.exp(sizes)
    assert bracket_shares(brackets) == pytest.approx(weights / weights.sum())


def test_hyperband_stops_the_trials_of_a_bracket_at_its_own_rungs_only(tmp_path: Path) -> None:
    found = expected(tmp_path, "{name: hyperband, grace: 100, reduction_factor: 4, brackets: 3}")
    random, shares = np.random.default_rng(1), bracket_shares(3)
    sweeps = [
        ray_passing(random.random(64).tolist(), random.choice(3, 64, p=shares).tolist(), 4, 4) for _ in range(100)
    ]
    mean, error = np.mean(sweeps, axis=0), np.std(sweeps, axis=0) / np.sqrt(100)
    assert (np.abs(np.array(found, dtype=float) - mean) <= 4 * error).all()


def test_without_a_scheduler_all_arrive_and_of_the_median_nobody_knows(tmp_path: Path) -> None:
    assert expected(tmp_path, "{name: none}") == (64,)
    assert expected(tmp_path, "{name: none, grace: 400, reduction_factor: 4}") == (64, 64, 64)
    assert expected(tmp_path, "{name: median, grace: 400, reduction_factor: 4}") == (64, None, None)


def test_the_total_is_what_each_trial_passes_by_itself() -> None:
    each = [100] * 12 + [400] * 3 + [1600]  # where each of 16 trials ends
    assert expected_total((100, 400, 1600), (16, 4, 1)) == sum(each)
    assert expected_total((100, 400), (16, None)) is None
