"""From a spec to Optuna's distributions, a grid's points and each trial's configuration."""

import itertools
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.spec.space import distributions, grid_points, one_run, trial_config, trial_count
from tests.unit.sweep.specs import load

SEARCH = """\
name: s
objective: {task: demo}
trials: 7
search:
  optim.learning_rate: {low: 1e-5, high: 1e-3, log: true}
  optim.batch_size: {low: 32, high: 128, step: 32}
  loss.temperature: {low: 0.1, high: 1}
  encoder.max_length: {low: 16, high: 64, log: true}
  encoder.pooling: {choices: [cls, avg_last2]}
  encoder.keep_layers: {choices: [null, [0, 5], [1]]}
"""
ONE_FACTOR_GRIDS = """\
name: g
objective: {task: demo}
sampler: {name: grid}
train: {optim: {batch_size: 64, learning_rate: 1e-4}}
search:
  - {optim.batch_size: {choices: [32, 64]}}
  - {optim.learning_rate: {choices: [1e-5, 1e-4]}, encoder.pooling: {choices: [avg_first_last, cls]}}
"""


def test_each_knob_becomes_the_distribution_of_its_own_type(tmp_path: Path) -> None:
    assert distributions(load(tmp_path, SEARCH)) == {
        "optim.learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "optim.batch_size": IntDistribution(32, 128, step=32),
        "loss.temperature": FloatDistribution(0.1, 1.0),
        "encoder.max_length": IntDistribution(16, 64, log=True),
        "encoder.pooling": CategoricalDistribution(["cls", "avg_last2"]),
        "encoder.keep_layers": CategoricalDistribution([None, "0,5", "1"]),
    }


def test_every_choice_gives_a_configuration_with_that_value_and_the_seed_of_train(tmp_path: Path) -> None:
    spec = load(tmp_path, SEARCH)
    wanted = {None: None, "0,5": (0, 5), "1": (1,)}
    for carried, layers in wanted.items():
        config = trial_config(spec, {"encoder.keep_layers": carried, "optim.batch_size": 96})
        assert (config.encoder.keep_layers, config.optim.batch_size, config.seed) == (layers, 96, 0)


def test_grids_of_one_factor_share_their_centre_and_keep_the_order_of_the_file(tmp_path: Path) -> None:
    spec = load(tmp_path, ONE_FACTOR_GRIDS)
    names = ("optim.batch_size", "optim.learning_rate", "encoder.pooling")
    wanted = [
        (32, 1e-4, "avg_first_last"),
        (64, 1e-4, "avg_first_last"),
        (64, 1e-5, "avg_first_last"),
        (64, 1e-5, "cls"),
        (64, 1e-4, "cls"),
    ]
    assert grid_points(spec) == [dict(zip(names, values, strict=True)) for values in wanted]
    assert trial_count(spec) == 5


def test_a_grid_of_one_mapping_is_the_whole_product(tmp_path: Path) -> None:
    text = ONE_FACTOR_GRIDS[: ONE_FACTOR_GRIDS.index("search")] + (
        "search: {optim.batch_size: {choices: [8, 16, 32]}, encoder.pooling: {choices: [cls, avg_last2]}}\n"
    )
    points = [tuple(point.values()) for point in grid_points(load(tmp_path, text))]
    assert points == list(itertools.product([8, 16, 32], ["cls", "avg_last2"]))


def test_every_point_of_a_grid_lies_in_its_distributions(tmp_path: Path) -> None:
    spec = load(tmp_path, ONE_FACTOR_GRIDS)
    space = distributions(spec)
    for point in grid_points(spec):
        assert point.keys() == space.keys()
        for knob, value in point.items():
            assert space[knob].to_internal_repr(value) >= 0


def test_without_a_grid_the_file_says_how_many_trials(tmp_path: Path) -> None:
    assert trial_count(load(tmp_path, SEARCH)) == 7


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_empty_search_has_no_distributions(tmp_path: Path, sampler: str) -> None:
    text = f"name: s\nobjective: {{task: demo}}\ntrials: 1\nsampler: {{name: {sampler}}}\n"
    assert distributions(load(tmp_path, text)) == {}


def test_one_run_of_any_sweep_loads_again_as_a_sweep_of_one_trial(tmp_path: Path) -> None:
    text = SEARCH.replace(
        "pooling: {choices: [cls, avg_last2]}", "pooling: {choices: [cls], when: {views.kind: dropout}}"
    )
    text += """  views.kind: {choices: [dropout]}
points: [{optim.batch_size: 64}]
sampler: {name: gp, warm_start: [earlier]}
scheduler: {name: hyperband, grace: 100, reduction_factor: 2}
stop: {cost: 3, plateau_trials: 5, plateau_gain: 1}
resources: {cost_per_hour: 2}
"""
    spec = load(tmp_path, text)
    config = trial_config(spec, {"optim.batch_size": 96})
    alone = load(tmp_path, one_run(spec, config).to_yaml())
    assert (alone.train, alone.searched, trial_count(alone)) == (config, (), 1)
    grid = load(tmp_path, ONE_FACTOR_GRIDS)
    assert load(tmp_path, one_run(grid, grid.train).to_yaml()).train == grid.train
