"""What the notes say of a sampler is what Optuna does."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from sweep.advice import advice
from sweep.spec.sweep_spec import SweepSpec
from tests.unit.sweep.specs import load

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1), "kind": CategoricalDistribution(("a", "b"))}
SEARCH = "{loss.temperature: {low: 0.01, high: 0.1}, encoder.pooling: {choices: [cls, avg_last2]}}"
WITH_CONDITION = (
    "{encoder.pooling: {choices: [cls, avg_last2]}, "
    "optim.learning_rate: {low: 1e-5, high: 1e-4, when: {encoder.pooling: cls}}}"
)


def sampler(name: str) -> BaseSampler:
    made = {
        "tpe": lambda: optuna.samplers.TPESampler(n_startup_trials=5, seed=0),
        "gp": lambda: optuna.samplers.GPSampler(n_startup_trials=5, seed=0),
        "cmaes": lambda: optuna.samplers.CmaEsSampler(n_startup_trials=5, seed=0, warn_independent_sampling=False),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(population_size=5, seed=0),
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "qmc": lambda: optuna.samplers.QMCSampler(scramble=True, seed=0, warn_independent_sampling=False),
    }
    return made[name]()


def study_of(name: str, state: TrialState | None) -> optuna.Study:
    study = optuna.create_study(sampler=sampler(name), direction="maximize")
    for number in range(30 if state else 0):
        x = (number + 0.5) / 30
        point = {"x": x, "y": 1 - x, "kind": "ab"[number % 2]}
        study.add_trial(
            create_trial(state=state, value=x, params=point, distributions=SPACE, intermediate_values={0: x})
        )
    return study


def spec_of(folder: Path, name: str, search: str, *changes: str) -> SweepSpec:
    text = f"name: s\nobjective: {{task: demo}}\ntrials: 64\nsampler: {{name: {name}}}\n"
    return load(folder, f"{text}train: {{budget: {{sentences: 6400}}}}\nsearch: {search}\n", *changes)


def notes(spec: SweepSpec, finishing: float | None = 64) -> str:
    return "\n".join(advice(spec, 64, finishing))


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga2", "random"])
def test_a_sampler_is_said_to_learn_nothing_from_stopped_trials_when_they_change_no_proposal(
    tmp_path: Path, name: str
) -> None:
    after_stopped = study_of(name, TrialState.PRUNED).ask(SPACE).params
    ignores = after_stopped == study_of(name, None).ask(SPACE).params
    said = notes(spec_of(tmp_path, name, SEARCH, "scheduler.name=asha", "scheduler.grace=400"), 4)
    assert ("learns nothing from trials that asha stops" in said) == (ignores and name != "random")
    assert "learns nothing" not in notes(spec_of(tmp_path, name, SEARCH))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["gp", "cmaes", "nsga2", "qmc"])
def test_choices_are_said_to_be_random_when_the_sampler_leaves_them_out(tmp_path: Path, name: str) -> None:
    study = study_of(name, TrialState.COMPLETE)
    modelled = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert ("encoder.pooling is drawn at random" in notes(spec_of(tmp_path, name, SEARCH))) == ("kind" not in modelled)


@pytest.mark.parametrize("name", ["gp", "cmaes", "nsga2"])
def test_conditional_knobs_are_said_to_be_random_for_samplers_that_model_what_every_trial_has(
    tmp_path: Path, name: str
) -> None:
    study = study_of(name, TrialState.COMPLETE)
    without_y = {"x": 0.5, "kind": "a"}
    study.add_trial(create_trial(value=0.0, params=without_y, distributions={name: SPACE[name] for name in without_y}))
    assert "y" not in study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert "optim.learning_rate is drawn at random" in notes(spec_of(tmp_path, name, WITH_CONDITION))


def test_tpe_and_random_have_no_such_notes(tmp_path: Path) -> None:
    for name in ("tpe", "random", "qmc"):
        assert notes(spec_of(tmp_path, name, WITH_CONDITION)) == ""


def test_counts_of_thousands_are_written_out(tmp_path: Path) -> None:
    asha = ("scheduler.name=asha", "scheduler.grace=400", "sampler.startup_trials=2000")
    said = "\n".join(advice(spec_of(tmp_path, "gp", SEARCH, *asha), 4_000, 1_234.5))
    assert "about 1,234 of 4,000" in said and "about 1,234 count here" in said


def test_too_few_trials_to_learn_from_are_said(tmp_path: Path) -> None:
    assert "random draws" in notes(spec_of(tmp_path, "gp", SEARCH, "sampler.startup_trials=64"))
    assert "random draws" not in notes(spec_of(tmp_path, "gp", SEARCH, "sampler.startup_trials=63"))
    asha = ("scheduler.name=asha", "scheduler.grace=400")
    said = notes(spec_of(tmp_path, "gp", SEARCH, *asha), 4)
    assert "about 4 of 64" in said and "random draws" in said
    assert "random draws" not in notes(spec_of(tmp_path, "tpe", SEARCH, *asha), 4), "it learns from what is stopped too"
    assert "random draws" in notes(spec_of(tmp_path, "tpe", SEARCH, *asha, "sampler.startup_trials=64"), 4)
    assert "random draws" not in notes(spec_of(tmp_path, "nsga2", SEARCH))
    assert "random draws" in notes(spec_of(tmp_path, "nsga2", SEARCH, *asha), 4)


def test_points_are_counted_without_making_them(tmp_path: Path) -> None:
    knobs = ("loss.temperature", "views.rate", "optim.learning_rate", "optim.weight_decay")
    tens = ", ".join(f"{knob}: {{low: 0.1, high: 0.9, step: 0.1}}" for knob in knobs)
    waiting = "encoder.max_length: {low: 11, high: 20, when: {encoder.pooling: cls}}"
    search = f"{{{tens}, encoder.pooling: {{choices: [cls, avg_last2]}}, {waiting}}}"
    spec = spec_of(tmp_path, "random", search)
    begin = time.process_time()
    (said,) = advice(spec, 10**7, None)
    assert time.process_time() - begin < 0.1
    assert f"points of the search, {9**4 * (10 + 1)}:" in said


@pytest.mark.parametrize(
    ("search", "count"),
    [
        ("{encoder.pooling: {choices: [cls, avg_last2]}, optim.batch_size: {low: 8, high: 10}}", 6),
        ("{optim.batch_size: {low: 8, high: 64, log: true}}", 57),
        ("{optim.batch_size: {low: 8, high: 64, step: 8}}", 8),
        ("{loss.temperature: {low: 0.1, high: 0.4, step: 0.1}}", 4),
        (
            "{encoder.pooling: {choices: [cls, avg_last2, avg_last4]}, "
            "optim.batch_size: {low: 8, high: 12, when: {encoder.pooling: [cls]}}}",
            7,
        ),
    ],
)
@pytest.mark.parametrize("name", ["tpe", "random"])
def test_fewer_points_than_trials_are_said(tmp_path: Path, search: str, count: int, name: str) -> None:
    spec = spec_of(tmp_path, name, search, "sampler.startup_trials=1")
    said = list(advice(spec, count + 1, None))
    assert len(said) == 1 and f"trials, {count + 1}, are more than the points of the search, {count}:" in said[0]
    assert list(advice(spec, count, None)) == []


def test_a_range_of_fractions_has_points_enough(tmp_path: Path) -> None:
    assert list(advice(spec_of(tmp_path, "random", SEARCH), 10**6, None)) == []
