"""A spec's own search in a world: the real searcher, scheduler and record; what fits a world; export of curves."""

from __future__ import annotations

import itertools
import math
import sys
from statistics import stdev

import pandas as pd
import pytest

import search_spaces
from sweep.errors import Refused
from sweep.searcher import make_bridge
from sweep.simulation import export_curves, fit
from sweep.simulation.analytic import LEARNING_RATE, TEMPERATURE, AnalyticWorld
from sweep.simulation.clock import simulate
from sweep.simulation.compare import Result, compare, comparison_text
from sweep.simulation.export_curves import curves_of
from sweep.simulation.fit import world_of
from sweep.simulation.outcome import Outcome
from sweep.simulation.recorded import STUDENT, RecordedWorld
from sweep.simulation.show import simulation_json, simulation_text, simulations
from sweep.simulation.simulated_sweep import passing_record, simulate_spec, with_sampler_seed
from sweep.spec.sweep_spec import load_spec, rungs
from sweep.trial_record import FLOOR, RowLog
from tests.unit.sweep.specs import ANALYTIC, load, new_record, row, write_trial

PAPER_GRID = """\
name: p
train: {optim: {learning_rate: 1e-5}, budget: {sentences: 2560000}}
search:
  encoder.pooling: {choices: [avg_last4, max_last4, cls]}
  optim.batch_size: {choices: [64, 128]}
sampler: {name: grid}
objective: {task: demo, split: dev}
"""
STUDENT_SPEC = """\
name: t
train: {budget: {sentences: 6400}, loss: {contrastive_weight: 0.1}, encoder: {pooling: avg_last_hidden}}
search:
  optim.learning_rate: {choices: [1e-4, 2e-4, 4e-4, 8e-4]}
sampler: {name: grid}
scheduler: {name: asha, grace: 400, reduction_factor: 4}
objective: {task: demo, split: dev}
"""


def facts(outcome: Outcome) -> list[tuple[object, ...]]:
    return [(trial.number, trial.scores, trial.state, trial.end) for trial in outcome.trials]


def test_the_same_seeds_simulate_the_same_sweep_and_each_seed_matters(tmp_path):
    spec, world = load(tmp_path, ANALYTIC), AnalyticWorld()
    first, again = (simulate_spec(spec, world, slots=2, seed=0) for _ in range(2))
    assert facts(first) == facts(again)
    assert facts(simulate_spec(spec, world, slots=2, seed=1)) != facts(first)
    assert facts(simulate_spec(with_sampler_seed(spec, 1), world, slots=2, seed=0)) != facts(first)


@pytest.mark.parametrize("slots", [1, 8])
def test_a_cost_limit_is_kept_to_within_one_evaluation_whatever_the_number_of_slots(tmp_path, slots):
    """What the trials have used since their last reports counts too: with eight slots it is eight times as much."""
    spec, world = load(tmp_path, ANALYTIC, "trials=300", "stop.cost=1", "resources.cost_per_hour=10"), AnalyticWorld()
    outcome = simulate_spec(spec, world, slots=slots, seed=1)
    seconds = world.run(outcome.trials[0].knobs, 1).seconds
    longest = max(after - before for before, after in itertools.pairwise((0.0, *seconds)))
    cost = 10 * sum(trial.end - trial.start for trial in outcome.trials) / 3600
    assert 1 <= cost <= 1 + 10 * longest / 3600


def test_quasi_random_points_fill_a_space_whose_knobs_wait_for_another(tmp_path):
    """The temperature is asked at every value here, so it must not follow what was drawn before it."""
    search = (
        "  optim.learning_rate: {low: 1e-5, high: 1e-3, log: true}\n"
        "  encoder.pooling: {choices: [cls, avg_last4]}\n"
        "  loss.temperature: {low: 0.01, high: 0.2, log: true, when: {encoder.pooling: [cls, avg_last4]}}\n"
    )
    text = ANALYTIC.partition("search:\n")[0] + "search:\n" + search + "sampler: {name: qmc}\ntrials: 32\n"
    text += "objective: {task: demo, split: dev}\nscheduler: {name: none}\n"
    points = [
        trial.knobs for trial in simulate_spec(load(tmp_path, text), AnalyticWorld((6400,)), slots=1, seed=0).trials
    ]
    rates, temperatures = ([math.log(point[knob]) for point in points] for knob in (LEARNING_RATE, TEMPERATURE))
    assert len({*zip(quarters(rates), quarters(temperatures), strict=True)}) == 16


def quarters(values: list[float]) -> list[int]:
    low, high = min(values), max(values)
    return [min(3, int(4 * (value - low) / (high - low))) for value in values]


def test_the_record_of_a_simulated_sweep_says_what_the_outcome_says(tmp_path):
    spec, world = load(tmp_path, ANALYTIC), AnalyticWorld()
    with passing_record(spec, world) as record:
        searcher, scheduler, _ = make_bridge(spec, record)
        outcome = simulate(searcher, scheduler, world, slots=3, seed=0, record=record)
        kept = record.trials()
    assert [(trial.number, trial.state, tuple(each.score for each in trial.rows)) for trial in kept] == [
        (trial.number, trial.state, trial.scores) for trial in outcome.trials
    ]
    assert sum(trial.rows[-1].sentences for trial in kept) == outcome.sentences
    assert {"completed", "stopped"} <= {trial.state for trial in kept}


def test_a_grid_in_the_papers_world_finds_the_papers_best_pooling_and_puts_its_worst_last(tmp_path):
    spec = load(tmp_path, PAPER_GRID)
    outcome = simulate_spec(spec, world_of(spec, "paper"), slots=1, seed=0)
    assert len(outcome.trials) == 6
    assert outcome.sentences == 6 * 2_560_000
    order = [trial.knobs["encoder.pooling"] for trial in sorted(outcome.trials, key=lambda trial: trial.scores[-1])]
    # Table 4: 59.350, 69.874, 72.174. The noise's standard deviation is 1.02, the batch sizes differ by 1.1.
    assert order[:2] == ["max_last4", "max_last4"]
    assert order[-1] == "avg_last4"


def test_a_target_ends_a_simulated_sweep_and_what_runs_is_interrupted(tmp_path):
    spec = load(tmp_path, PAPER_GRID, "stop.target=55")
    outcome = simulate_spec(spec, world_of(spec, "paper"), slots=2, seed=0)
    # Both start together and take the same time: the first to be told ends the sweep.
    assert [trial.state for trial in outcome.trials] == ["completed", "interrupted"]


@pytest.mark.parametrize(
    ("world", "overrides", "said"),
    [
        ("studnet", (), ["did you mean student"]),
        ("paper", (), ["nothing between its values", "choices: [64, 128, 256]"]),
        ("student", (), ["optim.batch_size", "--set optim.batch_size=VALUE"]),
        ("analytic", ("scheduler.axis=seconds",), ["scheduler.axis", "sentences"]),
        ("analytic", ("sampler.name=tpe", "sampler.warm_start=[old]"), ["sampler.warm_start"]),
        ("analytic", ("encoder.pooling=cls", "optim.batch_size=2048"), ["2 to 1024"]),
    ],
)
def test_what_a_world_does_not_know_is_refused_with_what_it_has(tmp_path, world, overrides, said):
    with pytest.raises(Refused) as refused:
        world_of(load(tmp_path, ANALYTIC, *overrides), world)
    for part in said:
        assert part in str(refused.value)


def test_simulations_are_told_by_seed_and_for_a_person(tmp_path):
    found = simulations(load(tmp_path, ANALYTIC, "sampler.seed=5"), "analytic", seeds=2, slots=2)
    told = simulation_json(found)
    assert [each["seed"] for each in told["seeds"]] == [5, 6]
    assert told["most_sentences"] == 12 * 6400
    assert all(sum(each["trials"].values()) == 12 for each in told["seeds"])
    worst = min(each["best_score"] for each in told["seeds"])
    assert f"worst {worst:.2f}" in simulation_text(found)
    assert "% stopped" in simulation_text(found)


@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf, 1e6])
def test_a_noise_that_is_no_standard_deviation_of_a_score_is_refused(tmp_path, noise):
    with pytest.raises(Refused, match=r"--noise: .*give 0 to 100 points"):
        world_of(load(tmp_path, ANALYTIC), "analytic", noise)


@pytest.mark.parametrize(
    ("spec", "world", "knobs", "own"),
    [
        (STUDENT_SPEC, "student", {"optim.learning_rate": 1e-4, "loss.contrastive_weight": 0.1}, 0.0),
        (PAPER_GRID, "paper", {"optim.learning_rate": 1e-5}, 1.02),
        (ANALYTIC, "analytic", {"optim.learning_rate": 1e-4}, 0.3),
    ],
)
def test_every_world_scatters_by_the_noise_that_it_is_given_and_else_by_its_own(tmp_path, spec, world, knobs, own):
    knobs |= {"encoder.pooling": "avg_last_hidden", "loss.temperature": 0.05, "optim.batch_size": 64}
    for given, expected in ((None, own), (0.0, 0.0), (2.0, 2.0)):
        made = world_of(load(tmp_path, spec), world, given)
        scores = [made.run(knobs, seed).scores[-1] for seed in range(400)]
        # The standard error of a standard deviation of 400 is 3.5 % of it.
        assert stdev(scores) == pytest.approx(expected, rel=0.15, abs=1e-9)
        assert made.noise_sd == expected


def test_simulations_under_noise_are_their_seeds_own_and_say_so(tmp_path):
    spec = load(tmp_path, STUDENT_SPEC)
    first, again, plain = (simulations(spec, "student", seeds=2, slots=2, noise_sd=sd) for sd in (0.3, 0.3, None))
    assert simulation_json(first) == simulation_json(again)
    assert simulation_json(first)["noise_sd"] == 0.3 and simulation_json(plain)["noise_sd"] == 0.0
    assert "noise 0.3 points" in simulation_text(first)
    # The same grid of four; each trial's score is off, each by its own draw.
    for seed in (0, 1):
        pairs = zip(first.outcomes[seed].trials, plain.outcomes[seed].trials, strict=True)
        off = [noisy.scores[0] - exact.scores[0] for noisy, exact in pairs]
        assert len({round(each, 6) for each in off}) == 4
        assert 0 < max(map(abs, off)) < 6 * 0.3


def test_strategies_are_compared_by_their_medians_and_never_reached_is_infinite():
    def fixed(cost: int, best: float):
        return lambda seed: Outcome((), 1, cost, ((cost + seed, best),))

    strategies = {"full": fixed(1000, 80.0), "ours": fixed(100, 80.0), "poor": fixed(10, 70.0)}
    full, ours, poor = compare(strategies, [1, 2, 3], lambda seed: 75.0)
    assert (full.median_sentences, ours.median_sentences, poor.median_sentences) == (1002, 102, math.inf)
    assert (ours.median_best, poor.best) == (80.0, (70.0, 70.0, 70.0))
    text = comparison_text((full, ours, poor))
    assert "9.824" in text.splitlines()[2], "1002 ÷ 102"
    assert "0/3" in text.splitlines()[3]
    assert text.splitlines()[3].count("never") == 3, "median and both quartiles"


def test_each_seed_has_a_target_of_its_own_the_same_for_all_strategies():
    def rising(seed: int) -> Outcome:
        return Outcome((), 1, 300, ((100, 70.0), (200, 75.0), (300, 80.0)))

    found = compare({"a": rising, "b": rising}, [3, 4, 5], {3: 80.0, 4: 70.0, 5: 80.5}.__getitem__)
    assert [result.sentences for result in found] == [(300, 100, math.inf)] * 2


def test_quartiles_are_the_seeds_own_numbers_and_may_be_infinite():
    costs = (50.0, 10.0, math.inf, 30.0, 20.0)
    assert Result("some", costs, (80.0,) * 5).quartiles == (20.0, 50.0)
    assert Result("few", (10.0, math.inf), (80.0,) * 2).quartiles == (10.0, math.inf)
    assert Result("one", (10.0,), (80.0,)).quartiles == (10.0, 10.0)


def test_a_point_that_is_no_cell_of_a_sparse_table_is_refused_before_the_run(tmp_path, monkeypatch):
    whole = pd.read_csv(STUDENT)
    lost = (whole["optim.learning_rate"] == 4e-4) & (whole["encoder.pooling"] == "avg_last2")
    sparse = tmp_path / "curves.csv"
    whole[~lost].to_csv(sparse, index=False)
    monkeypatch.setattr(fit, "STUDENT", sparse)
    spec = load_spec(search_spaces.folder() / "student_search.yaml")
    with pytest.raises(Refused) as refused:
        world_of(spec, "student")
    # One weight without temperature, two with three.
    assert "7 of 112 points" in str(refused.value)
    assert "optim.learning_rate = 0.0004, encoder.pooling = 'avg_last2'" in str(refused.value)


def test_the_shipped_curves_are_the_cells_of_the_students_grid_each_with_every_rung():
    spec = load_spec(search_spaces.folder() / "student_grid.yaml")
    expected = set()
    for grid in spec.grids:
        for values in itertools.product(*(given.choices for given in grid.values())):
            point = {"loss.contrastive_weight": 0.0} | dict(zip(grid, values, strict=True))
            expected |= {(rung, *(point.get(knob) for knob in spec.searched)) for rung in rungs(spec)}
    found = pd.read_csv(STUDENT)[["sentences", *spec.searched]].astype(object)
    rows = [tuple(each) for each in found.where(found.notna(), None).itertuples(index=False)]
    assert len(rows) == len(set(rows))
    assert set(rows) == expected


def test_exported_curves_make_a_world_that_gives_each_trial_back(tmp_path):
    record = new_record(tmp_path / "sweeps", trials=2)
    write_trial(record, 0, [row(0, 10.0), row(1, 20.0), row(2, 30.0)], "completed")
    write_trial(record, 1, [row(0, 12.0), row(1, FLOOR, failure="diverged")], "diverged", "no loss")
    path = tmp_path / "curves.csv"
    curves_of(record).to_csv(path, index=False)
    world = RecordedWorld(pd.read_csv(path))
    assert world.rungs == (64, 128, 256)
    assert world.run({"loss.temperature": 0.25}, 0).scores == (10.0, 20.0, 30.0)
    assert world.run({"loss.temperature": 0.25}, 0).seconds == (10.0, 20.0, 30.0)
    assert world.run({"loss.temperature": 0.5}, 0).failure == "diverged"


def test_an_incomplete_sweep_is_not_exported_and_the_table_that_was_there_stays(tmp_path, monkeypatch, capsys):
    record = new_record(tmp_path / "sweeps", trials=3)
    write_trial(record, 0, [row(0), row(1), row(2)], "completed")
    write_trial(record, 1, [row(0)])
    out = tmp_path / "curves.csv"
    out.write_text("what was there\n")
    monkeypatch.setattr(sys, "argv", ["export_curves", "s", str(out), "--root", str(tmp_path / "sweeps")])
    with pytest.raises(SystemExit) as ended:
        export_curves.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "2 of 3 cells" in said
    assert "Next: stsweep resume s" in said
    assert out.read_text() == "what was there\n"
    write_rows(record, 1)
    write_trial(record, 2, [row(0), row(1), row(2)], "completed")
    export_curves.main()
    assert pd.read_csv(out)["sentences"].tolist() == [64, 128, 256, 64, 256, 64, 128, 256]


def write_rows(record, number):
    RowLog(record.trial_folder(number)).append(row(2))
    record.end_trial(number, "completed")


def test_the_temperature_of_a_trial_without_contrastive_loss_is_left_empty(tmp_path):
    record = new_record(tmp_path / "sweeps", searched=["loss.contrastive_weight", "loss.temperature"], trials=2)
    for number, weight in enumerate((0.0, 0.1)):
        config = {"loss.contrastive_weight": weight, "loss.temperature": 0.05}
        record.add_trial(number, config, config)
        write_rows(record, number)
    curves = curves_of(record)
    assert curves["loss.temperature"].isna().tolist() == [True, False]
