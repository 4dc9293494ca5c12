"""A spec's own search in a world: the real searcher, scheduler and record; what fits a world; export of curves."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sweep.errors import Refused
from sweep.searcher import make_bridge
from sweep.simulation.analytic import AnalyticWorld
from sweep.simulation.clock import simulate
from sweep.simulation.compare import compare, comparison_text
from sweep.simulation.export_curves import curves_of
from sweep.simulation.fit import world_of
from sweep.simulation.outcome import Outcome
from sweep.simulation.recorded import RecordedWorld
from sweep.simulation.show import simulation_json, simulation_text, simulations
from sweep.simulation.simulated_sweep import passing_record, simulate_spec, with_sampler_seed
from sweep.trial_record import FLOOR, RowLog
from tests.unit.sweep.specs import load, new_record, row, write_trial

SPEC = """\
name: s
train: {budget: {sentences: 6400}}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-2, log: true}
  optim.batch_size: {low: 32, high: 256}
  loss.temperature: {low: 0.01, high: 0.2, log: true}
  encoder.pooling: {choices: [avg_last_hidden, concat_last4]}
sampler: {name: random}
scheduler: {name: asha, grace: 400, reduction_factor: 4}
objective: {task: demo, split: dev}
trials: 12
"""
PAPER_GRID = """\
name: p
train: {optim: {learning_rate: 1e-5}, budget: {sentences: 2560000}}
search:
  encoder.pooling: {choices: [avg_last4, max_last4, cls]}
  optim.batch_size: {choices: [64, 128]}
sampler: {name: grid}
objective: {task: demo, split: dev}
"""


def facts(outcome: Outcome) -> list[tuple[object, ...]]:
    return [(trial.number, trial.scores, trial.state, trial.end) for trial in outcome.trials]


def test_the_same_seeds_simulate_the_same_sweep_and_each_seed_matters(tmp_path):
    spec, world = load(tmp_path, SPEC), AnalyticWorld()
    first, again = (simulate_spec(spec, world, slots=2, seed=0) for _ in range(2))
    assert facts(first) == facts(again)
    assert facts(simulate_spec(spec, world, slots=2, seed=1)) != facts(first)
    assert facts(simulate_spec(with_sampler_seed(spec, 1), world, slots=2, seed=0)) != facts(first)


def test_the_record_of_a_simulated_sweep_says_what_the_outcome_says(tmp_path):
    spec, world = load(tmp_path, SPEC), AnalyticWorld()
    with passing_record(spec, world) as record:
        searcher, scheduler, _ = make_bridge(spec, record)
        outcome = simulate(searcher, scheduler, world, slots=3, seed=0, record=record)
        kept = record.trials()
    assert [(trial.number, trial.state, tuple(each.score for each in trial.rows)) for trial in kept] == [
        (trial.number, trial.state, trial.scores) for trial in outcome.trials
    ]
    assert sum(trial.rows[-1].sentences for trial in kept) == outcome.sentences
    assert {"completed", "stopped"} <= {trial.state for trial in kept}


def test_a_grid_in_the_papers_world_finds_the_papers_best_pooling_and_batch(tmp_path):
    spec = load(tmp_path, PAPER_GRID)
    outcome = simulate_spec(spec, world_of(spec, "paper"), slots=1, seed=0)
    assert len(outcome.trials) == 6
    assert outcome.sentences == 6 * 2_560_000
    worst = min(outcome.trials, key=lambda trial: trial.scores[-1])
    assert worst.knobs["encoder.pooling"] == "max_last4", "9.9 points below the next, ten times the noise"


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
        world_of(load(tmp_path, SPEC, *overrides), world)
    for part in said:
        assert part in str(refused.value)


def test_simulations_are_told_by_seed_and_for_a_person(tmp_path):
    found = simulations(load(tmp_path, SPEC, "sampler.seed=5"), "analytic", seeds=2, slots=2)
    told = simulation_json(found)
    assert [each["seed"] for each in told["seeds"]] == [5, 6]
    assert told["most_sentences"] == 12 * 6400
    assert all(sum(each["trials"].values()) == 12 for each in told["seeds"])
    worst = min(each["best_score"] for each in told["seeds"])
    assert f"worst {worst:.2f}" in simulation_text(found)
    assert "% stopped" in simulation_text(found)


def test_strategies_are_compared_by_their_medians_and_never_reached_is_infinite():
    def fixed(cost: int, best: float):
        return lambda seed: Outcome((), 1, cost, ((cost + seed, best),))

    strategies = {"full": fixed(1000, 80.0), "ours": fixed(100, 80.0), "poor": fixed(10, 70.0)}
    full, ours, poor = compare(strategies, [1, 2, 3], target=75.0)
    assert (full.median_sentences, ours.median_sentences, poor.median_sentences) == (1002, 102, math.inf)
    assert (ours.median_best, poor.best) == (80.0, (70.0, 70.0, 70.0))
    text = comparison_text((full, ours, poor), 75.0)
    assert "9.824" in text.splitlines()[2], "1002 ÷ 102"
    assert "0/3" in text.splitlines()[3]


def test_exported_curves_make_a_world_that_gives_each_trial_back(tmp_path):
    record = new_record(tmp_path / "sweeps")
    write_trial(record, 0, [row(0, 10.0), row(1, 20.0), row(2, 30.0)], "completed")
    write_trial(record, 1, [row(0, 11.0)], "stopped")
    write_trial(record, 2, [row(0, 12.0), row(1, FLOOR, failure="diverged")], "diverged", "no loss")
    path = tmp_path / "curves.csv"
    curves_of(record).to_csv(path, index=False)
    world = RecordedWorld(pd.read_csv(path))
    assert world.rungs == (64, 128, 256)
    assert world.run({"loss.temperature": 0.25}, 0).scores == (10.0, 20.0, 30.0)
    assert world.run({"loss.temperature": 0.25}, 0).seconds == (10.0, 20.0, 30.0)
    assert world.run({"loss.temperature": 0.75}, 0).failure == "diverged"
    with pytest.raises(Refused):
        world.run({"loss.temperature": 0.5}, 0)  # stopped: its curve is not known


def write_rows(record, number):
    RowLog(record.trial_folder(number)).append(row(2))
    record.end_trial(number, "completed")


def test_the_temperature_of_a_trial_without_contrastive_loss_is_left_empty(tmp_path):
    record = new_record(tmp_path / "sweeps", searched=["loss.contrastive_weight", "loss.temperature"])
    for number, weight in enumerate((0.0, 0.1)):
        config = {"loss.contrastive_weight": weight, "loss.temperature": 0.05}
        record.add_trial(number, config, config)
        write_rows(record, number)
    curves = curves_of(record)
    assert curves["loss.temperature"].isna().tolist() == [True, False]
