"""Where a trial is scored: the milestones of Ray's own ASHA, and the budget."""

import itertools
from pathlib import Path

import pytest

from sweep.spec.sweep_spec import SweepSpec, milestones, rungs
from tests.unit.sweep.specs import SMALL, load, one_problem


@pytest.mark.parametrize("factor", [2, 3, 4, 1.5, 2.5, 10])
def test_rungs_are_rays_own(tmp_path: Path, factor: float) -> None:
    brackets = pytest.importorskip("ray.tune.schedulers.async_hyperband")
    for grace, budget in itertools.product([1, 7, 64, 1000, 6400], [1001, 25_600, 64_000, 1_000_000]):
        if grace >= budget:
            continue
        spec = load(
            tmp_path,
            SMALL,
            "optim.batch_size=2",
            f"budget.sentences={budget}",
            "scheduler.name=asha",
            f"scheduler.grace={grace}",
            f"scheduler.reduction_factor={factor}",
        )
        milestones = [milestone for milestone, _ in brackets._Bracket(grace, budget, factor, 0)._rungs]
        reached = {next(n for n in (int(m), int(m) + 1) if n >= m) for m in milestones if m < budget}
        assert rungs(spec) == tuple(sorted(reached | {budget}))


def seconds(folder: Path, scheduler: str, grace: float, factor: float) -> SweepSpec:
    plan = f"{{name: {scheduler}, axis: seconds, grace: {grace}, reduction_factor: {factor}}}"
    return load(folder, f"{SMALL}scheduler: {plan}\n", "budget.sentences=500", "optim.batch_size=2")


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
def test_every_scheduler_scores_at_the_same_rungs(tmp_path: Path, scheduler: str) -> None:
    text = f"{SMALL}scheduler: {{name: {scheduler}, grace: 50, reduction_factor: 2}}\n"
    spec = load(tmp_path, text, "budget.sentences=500", "optim.batch_size=2")
    assert rungs(spec) == (50, 100, 200, 400, 500)
    assert milestones(spec) == ()


def test_without_a_grace_there_is_one_rung_the_budget(tmp_path: Path) -> None:
    assert rungs(load(tmp_path, SMALL, "budget.sentences=500")) == (500,)


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
def test_on_the_axis_of_seconds_the_milestones_are_twenty_and_the_budget_is_the_one_rung(
    tmp_path: Path, scheduler: str
) -> None:
    spec = seconds(tmp_path, scheduler, 2, 2)
    found = milestones(spec)
    assert (len(found), found[0], found[-1]) == (20, 2, 2 * 2**19)
    assert all(later == 2 * earlier for earlier, later in itertools.pairwise(found))
    assert rungs(spec) == (500,)


@pytest.mark.parametrize(("grace", "factor"), [(1, 4), (0.5, 2.5), (7, 3), (1e12, 1000)])
def test_milestones_are_rays_own(tmp_path: Path, grace: float, factor: float) -> None:
    brackets = pytest.importorskip("ray.tune.schedulers.async_hyperband")
    theirs = brackets._Bracket(grace, grace * factor**19.5, factor, 0)._rungs
    found = milestones(seconds(tmp_path, "asha", grace, factor))
    assert found == tuple(sorted(milestone for milestone, _ in theirs))


def test_seconds_without_a_grace_are_scored_once_at_the_end(tmp_path: Path) -> None:
    spec = load(tmp_path, f"{SMALL}scheduler: {{axis: seconds}}\n")
    assert milestones(spec) == ()


@pytest.mark.parametrize(("grace", "budget", "factor"), [(100, 1000, 2), (100, 1600, 4), (7, 500, 3), (100, 150, 2)])
def test_hyperband_has_at_most_as_many_brackets_as_rays_have_a_rung_below_the_budget(
    tmp_path: Path, grace: int, budget: int, factor: int
) -> None:
    ray = pytest.importorskip("ray.tune.schedulers.async_hyperband")
    below = [
        [milestone for milestone, _ in ray._Bracket(grace, budget, factor, place)._rungs if milestone < budget]
        for place in range(12)
    ]
    most = sum(map(bool, below))
    text = f"{SMALL}scheduler: {{name: hyperband, grace: {grace}, reduction_factor: {factor}, brackets: BRACKETS}}\n"
    sizes = (f"budget.sentences={budget}", "optim.batch_size=2")
    load(tmp_path, text.replace("BRACKETS", str(most)), *sizes)
    said = one_problem(tmp_path, text.replace("BRACKETS", str(most + 1)), *sizes)
    assert f"scheduler.brackets: {most + 1} brackets" in said and f"there {'is' if most == 1 else 'are'} {most}" in said
