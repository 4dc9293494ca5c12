"""Where a trial is scored: the milestones of Ray's own ASHA, and the budget."""

import itertools
from pathlib import Path

import pytest

from sweep.spec.sweep_spec import rungs
from tests.unit.sweep.specs import SMALL, load


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


def test_without_a_scheduler_there_is_one_rung_the_budget(tmp_path: Path) -> None:
    assert rungs(load(tmp_path, SMALL, "budget.sentences=500", "scheduler.grace=100")) == (500,)
