"""The worlds against loops written from their descriptions, and against the paper's own numbers."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pandas as pd
import pytest

from sweep.errors import Refused
from sweep.simulation.analytic import BATCH, LEARNING_RATE, POOLING, TEMPERATURE, WIDE, AnalyticWorld
from sweep.simulation.paper import TABLES, PaperWorld
from sweep.simulation.recorded import RecordedWorld
from sweep.simulation.worlds import noise

DEFAULT = {
    "encoder.pooling": "avg_first_last",
    "optim.learning_rate": 5e-5,
    "loss.temperature": 0.05,
    "optim.batch_size": 64,
}
BEST = {
    "encoder.pooling": "avg_last4",
    "optim.learning_rate": 1e-5,
    "loss.temperature": 0.05,
    "optim.batch_size": 128,
}


def test_noise_has_the_spread_it_is_given_and_half_of_it_is_the_trials_own():
    drawn = [noise(seed, DEFAULT, 3, 1.02) for seed in range(4000)]
    assert stdev(first for first, _, _ in drawn) == pytest.approx(1.02, rel=0.05)
    assert fmean(first * last for first, _, last in drawn) == pytest.approx(1.02**2 / 2, rel=0.1)


def test_noise_depends_on_seed_and_configuration_alone():
    again = dict(reversed(DEFAULT.items()))
    assert noise(1, DEFAULT, 2, 1.0) == noise(1, again, 2, 1.0)
    assert noise(1, DEFAULT, 2, 1.0) != noise(2, DEFAULT, 2, 1.0)
    assert noise(1, DEFAULT, 2, 1.0) != noise(1, BEST, 2, 1.0)
    assert noise(1, DEFAULT, 2, 0.0) == [0.0, 0.0]


def test_the_papers_best_configuration_scores_what_it_reports_and_the_others_less():
    world = PaperWorld(noise_sd=0)
    assert world.run(BEST, 0).scores[-1] == pytest.approx(72.10)
    # Tables 4, 6 and 7: 60.806 for 71.43, 69.842 for 70.956, 70.29 for 72.174.
    expected = 72.10 - (71.43 - 60.806) - (70.956 - 69.842) - (72.174 - 70.29)
    assert world.run(DEFAULT, 0).scores[-1] == pytest.approx(expected)


def test_a_curve_of_the_paper_follows_its_formula():
    rungs = (1000, 20_000, 100_000)
    untrained, final, half = 58.73, 72.10, 200 * 64 * 5.0
    whole = 100_000 / (100_000 + half)
    expected = [untrained + (final - untrained) * (rung / (rung + half)) / whole for rung in rungs]
    assert PaperWorld(rungs, noise_sd=0).run(BEST, 0).scores == pytest.approx(expected)


def test_the_papers_world_refuses_what_is_not_in_its_tables_all_at_once():
    wrong = BEST | {"optim.learning_rate": 2e-5, "encoder.pooling": "avg_last3"}
    with pytest.raises(Refused) as refused:
        PaperWorld().run(wrong, 0)
    assert {problem.key for problem in refused.value.problems} == {"optim.learning_rate", "encoder.pooling"}
    assert math.prod(map(len, TABLES.values())) == 630


def analytic(**changes: object) -> dict[str, object]:
    return {LEARNING_RATE: 1e-4, TEMPERATURE: 0.05, POOLING: "avg_last_hidden", BATCH: 64} | changes


def test_analytic_curves_cross_the_higher_learning_rate_leads_first_and_loses():
    world = AnalyticWorld(noise_sd=0)
    slow, fast = world.run(analytic(), 0).scores, world.run(analytic(**{LEARNING_RATE: 1e-3}), 0).scores
    assert fast[0] > slow[0]
    assert fast[-1] < slow[-1]


def test_an_analytic_score_follows_its_formula():
    got = AnalyticWorld((100, 2000), noise_sd=0).run(analytic(**{BATCH: 256, TEMPERATURE: 0.5}), 0).scores
    # A batch four times as large: best learning rate 2e-4, which 1e-4 misses by log10(2); two doublings, 3 points.
    asymptote = 74 - 6 * math.log10(2) ** 2 - 8 + 3
    half = 100 * 2
    assert got == pytest.approx([50 + (asymptote - 50) * rung / (rung + half) for rung in (100, 2000)])


def test_an_analytic_trial_without_memory_costs_a_second_and_one_that_diverges_a_part_of_the_first_rung():
    world = AnalyticWorld()
    full = world.run(analytic(**{POOLING: WIDE, BATCH: 192}), 0)
    assert (full.scores, full.seconds, full.failure, full.lost) == ((), (1.0,), "infeasible", 0)
    assert world.run(analytic(**{POOLING: WIDE, BATCH: 191}), 0).failure is None
    assert world.run(analytic(**{BATCH: 192}), 0).failure is None
    hot = world.run(analytic(**{LEARNING_RATE: 1e-2}), 0)
    assert hot.failure == "diverged"
    assert 0 < hot.lost < world.rungs[0]


def table(*cells: tuple[float, float | None, list[float], str | None]) -> pd.DataFrame:
    """Cells of learning rate and temperature with their scores at 100, 200 and 400 sentences, 10 s a rung."""
    rows = []
    for rate, temperature, scores, failure in cells:
        for place, score in enumerate(scores):
            failed = failure if place == len(scores) - 1 else None
            rows.append((rate, temperature, 100 * 2**place, score, 10.0 * (place + 1), failed))
    columns = ["optim.learning_rate", "loss.temperature", "sentences", "score", "seconds", "failure"]
    return pd.DataFrame(rows, columns=columns)


FOUR = table(
    (1e-5, 0.01, [10, 20, 30], None),
    (1e-5, 0.04, [11, 22, 33], None),
    (1e-3, 0.01, [40, 50, 60], None),
    (1e-3, 0.04, [41, 53, 66], None),
)


def cell(rate: float, temperature: float | None = None) -> dict[str, float | None]:
    return {"optim.learning_rate": rate, "loss.temperature": temperature}


def test_a_recorded_cell_is_given_back_as_it_was():
    curve = RecordedWorld(FOUR).run(cell(1e-3, 0.04) | {"seed": 3}, 0)
    assert (curve.scores, curve.seconds, curve.failure) == ((41, 53, 66), (10.0, 20.0, 30.0), None)


def test_at_some_of_the_rungs_the_curve_is_the_same_curve():
    world = RecordedWorld(FOUR, rungs=(100, 400))
    assert world.run(cell(1e-5, 0.01), 0).scores == (10, 30)
    assert world.run(cell(1e-5, 0.01), 0).seconds == (10.0, 30.0)


@pytest.mark.parametrize("rungs", [(150, 400), (100, 200)])
def test_rungs_that_were_not_recorded_or_end_early_are_refused_with_those_that_were(rungs):
    with pytest.raises(Refused, match="100, 200, 400"):
        RecordedWorld(FOUR, rungs=rungs)


def test_between_cells_a_curve_is_linear_in_the_logarithms():
    world = RecordedWorld(FOUR, continuous=True)
    # 1e-4 is half way in the logarithm, 0.02 too: the mean of the four.
    assert world.run(cell(1e-4, 0.02), 0).scores == pytest.approx((25.5, 36.25, 47.25))
    # A quarter of the way, at a cell's own temperature.
    assert world.run(cell(10**-4.5, 0.01), 0).scores[0] == pytest.approx(10 + (40 - 10) / 4)


@pytest.mark.parametrize(
    ("continuous", "point"), [(False, cell(1e-4, 0.01)), (True, cell(2e-3, 0.01)), (True, cell(1e-4))]
)
def test_a_point_that_is_no_cell_nor_between_cells_is_refused(continuous, point):
    with pytest.raises(Refused, match="no recorded curve"):
        RecordedWorld(FOUR, continuous=continuous).run(point, 0)


def test_an_empty_knob_of_a_cell_does_not_matter_there():
    columns = ["loss.contrastive_weight", "loss.temperature", "sentences", "score", "seconds", "failure"]
    rows = [(0.0, None, 100, 1.0, 1.0, None), (0.1, 0.05, 100, 2.0, 1.0, None)]
    world = RecordedWorld(pd.DataFrame(rows, columns=columns))
    for temperature in (None, 0.05, 7.0):
        assert world.run({"loss.contrastive_weight": 0, "loss.temperature": temperature}, 0).scores == (1.0,)
    assert world.cells == (
        {"loss.contrastive_weight": 0.0},
        {"loss.contrastive_weight": 0.1, "loss.temperature": 0.05},
    )


def test_a_recorded_failure_comes_before_the_rung_that_it_kept_from():
    curves = table((1e-5, 0.01, [10, -100], "diverged"), (1e-3, 0.01, [40, 50, 60], None))
    curve = RecordedWorld(curves, rungs=(100, 400)).run(cell(1e-5, 0.01), 0)
    assert (curve.scores, curve.seconds, curve.failure, curve.lost) == ((10.0,), (10.0, 20.0), "diverged", 0)
    late = table((1e-5, 0.01, [10, 20, -100], "diverged"), (1e-3, 0.01, [40, 50, 60], None))
    assert RecordedWorld(late, rungs=(100, 400)).run(cell(1e-5, 0.01), 0).lost == 100
    world = RecordedWorld(late, continuous=True)
    assert world.run(cell(3e-5, 0.01), 0).failure == "diverged"
    assert world.run(cell(3e-4, 0.01), 0).failure is None


def test_noise_on_recorded_curves_is_seeded():
    world = RecordedWorld(FOUR, noise_sd=0.5)
    first, again, other = (world.run(cell(1e-5, 0.01), seed).scores for seed in (1, 1, 2))
    assert first == again != other
