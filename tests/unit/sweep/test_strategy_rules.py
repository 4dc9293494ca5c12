"""Samplers, schedulers, stops: what does not go together is refused."""

from pathlib import Path

import optuna
import pytest
import scipy.stats.qmc  # noqa: F401  QMCSampler loads it at its second trial: seconds that are not the test's

from sweep.spec.sweep_spec import rungs
from tests.unit.sweep.specs import SMALL, load, one_problem, refusal

SEARCH = "search: {loss.temperature: {low: 0.01, high: 0.2}, encoder.pooling: {choices: [cls, avg_last2]}}\n"
SAMPLERS = ["tpe", "gp", "cmaes", "random", "qmc", "nsga2"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
@pytest.mark.parametrize("axis", ["sentences", "seconds"])
def test_every_sampler_goes_with_every_scheduler_on_both_axes(
    tmp_path: Path, sampler: str, scheduler: str, axis: str
) -> None:
    plan = f"{{name: {scheduler}, axis: {axis}, grace: 100, reduction_factor: 2}}"
    load(tmp_path, f"{SMALL}{SEARCH}sampler: {{name: {sampler}}}\nscheduler: {plan}\n")


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("axis", ["sentences", "seconds"])
def test_a_scheduler_that_stops_needs_a_grace_in_the_unit_of_its_axis(
    tmp_path: Path, scheduler: str, axis: str
) -> None:
    said = one_problem(tmp_path, f"{SMALL}scheduler: {{name: {scheduler}, axis: {axis}}}\n")
    assert "scheduler.grace: missing" in said and axis in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("scheduler: {name: asha, grace: 1920000}", "not below budget.sentences, 1920000; give 1 to 1919999"),
        ("scheduler: {name: none, grace: 1920000}", "not below budget.sentences"),
        ("scheduler: {name: median, grace: 100.5}", "give whole sentences before the first rung"),
        ("scheduler: {name: asha, grace: 0}", "give whole sentences from 1, or with axis: seconds any seconds above 0"),
        ("scheduler: {name: asha, axis: seconds, grace: 60, reduction_factor: 1.2}", "at 1,917 s of training"),
        ("scheduler: {name: asha, axis: seconds, grace: 0}", "above 0"),
        ("scheduler: {name: asha, axis: second, grace: 1}", "did you mean seconds?"),
        ("scheduler: {name: asha, axis: steps, grace: 1}", "one of sentences, seconds"),
        ("scheduler: {name: asha, grace: 100, reduction_factor: 0.5}", "above 1"),
        ("scheduler: {name: hyperbrand, grace: 100}", "did you mean hyperband?"),
        ("scheduler: {name: hyperband, grace: 100, brackets: 0}", "from 1"),
        ("scheduler: {name: hyperband, grace: 300000, reduction_factor: 4}", "3 brackets need as many rungs below the"),
        ("scheduler: {name: hyperband, grace: 300000, brackets: 3}", "there are 2"),
        ("sampler: {name: cmeas}", "did you mean cmaes?"),
        ("sampler: {name: cmaes}\nsearch: {optim.batch_size: {choices: [8, 16]}}", "varies numbers in a range"),
        ("sampler: {name: random, warm_start: [earlier]}", "random learns from no trial that it did not propose"),
        ("sampler: {name: qmc, warm_start: [earlier]}", "leave warm_start out, or take tpe or gp"),
        ("sampler: {warm_start: [earlier, earlier]}", "warm_start[1]: 'earlier' is listed twice"),
        ("sampler: {warm_start: [../other]}", "no name of a sweep"),
        ("sampler: {warm_start: earlier}", "a list of texts"),
        ("objective: {task: demo, against: speed}", "size, latency"),
        ("stop: {cost: 3}", "stop.cost: needs resources.cost_per_hour"),
        ("stop: {plateau_gain: 0.2}", "stop.plateau_gain: needs stop.plateau_trials"),
        ("stop: {target: 101}", "from -100 to 100"),
        ("stop: {wall_hour: 3}", "did you mean wall_hours?"),
        ("resources: {cost_per_hour: 0}", "above 0"),
        ("keep_best: 0", "from 1"),
        ("checkpoint_seconds: 0", "above 0"),
    ],
)
def test_what_does_not_go_together_is_refused_once_with_its_line(tmp_path: Path, lines: str, words: str) -> None:
    kept = SMALL.replace("objective: {task: demo}\n", "") if lines.startswith("objective") else SMALL
    said = one_problem(tmp_path, f"{kept}{lines}\n")
    assert f"sweep.yaml:{kept.count(chr(10)) + 1}: " in said
    assert words in said


def test_more_than_fifty_rungs_are_refused_before_anything_lists_them(tmp_path: Path) -> None:
    for factor in ("1.0000000001", "1.05", "1.16"):
        said = one_problem(tmp_path, f"{SMALL}scheduler:\n  name: asha\n  grace: 1000\n  reduction_factor: {factor}\n")
        assert f"sweep.yaml:{SMALL.count(chr(10)) + 4}: " in said
        assert "more than 50 rungs from 1000 to 1920000 sentences; give 1.17 or more" in said
    assert len(rungs(load(tmp_path, f"{SMALL}scheduler: {{name: asha, grace: 1000, reduction_factor: 1.17}}\n"))) <= 50
    doubling = "scheduler: {name: none, grace: 1, reduction_factor: 1.5}\n"
    for budget, count in ((int(1.5**49), 50), (int(1.5**49) + 2, 51)):
        text = f"{SMALL}{doubling}train: {{budget: {{sentences: {budget}}}}}\n"
        if count > 50:
            assert "more than 50 rungs" in one_problem(tmp_path, text)
        else:
            load(tmp_path, text)


def test_too_many_rungs_are_told_beside_the_other_mistakes(tmp_path: Path) -> None:
    said = str(
        refusal(tmp_path, f"{SMALL}keep_best: 0\nscheduler: {{name: asha, grace: 1, reduction_factor: 1.001}}\n")
    )
    assert "2 problems" in said and "keep_best" in said and "more than 50 rungs" in said


def test_more_points_than_trials_are_refused(tmp_path: Path) -> None:
    text = f"{SMALL}{SEARCH}points: [{{encoder.pooling: cls}}, {{encoder.pooling: avg_last2}}]\n"
    load(tmp_path, text, "trials=2")
    said = one_problem(tmp_path, text, "trials=1")
    assert f"sweep.yaml:{text.count(chr(10))}: points: 2 points are more than trials, 1" in said


@pytest.mark.parametrize("limit", ["wall_hours", "worker_hours", "cost"])
def test_a_limit_of_nothing_is_refused(tmp_path: Path, limit: str) -> None:
    for amount in ("0", "-1", ".nan", ".inf"):
        said = one_problem(tmp_path, f"{SMALL}stop: {{{limit}: {amount}}}\nresources: {{cost_per_hour: 1}}\n")
        assert f"stop.{limit}: " in said and "give a finite number above 0 or null" in said


def test_a_grid_takes_neither_a_warm_start_nor_a_number_of_trials_of_its_own(tmp_path: Path) -> None:
    text = "name: g\nobjective: {task: demo}\nsearch: {views.rate: {choices: [0.1, 0.2]}}\n"
    said = one_problem(tmp_path, text + "sampler: {name: grid, warm_start: [earlier]}\n")
    assert "sampler.warm_start: grid learns from no trial" in said
    assert "leave trials out" in one_problem(tmp_path, text + "sampler: {name: grid}\ntrials: 7\n")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_samplers_refused_with_two_objectives_are_those_that_optuna_refuses(tmp_path: Path, sampler: str) -> None:
    text = f"{SMALL.replace('demo', 'demo, against: size')}{SEARCH}sampler: {{name: {sampler}}}\n"
    made = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
        "random": optuna.samplers.RandomSampler,
        "qmc": optuna.samplers.QMCSampler,
        "nsga2": optuna.samplers.NSGAIISampler,
    }[sampler]
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=made(seed=0))
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    try:
        for _ in range(2):
            study.tell(study.ask(space), [1.0, 2.0])
    except ValueError:
        assert "sampler.name: " in one_problem(tmp_path, text)
    else:
        load(tmp_path, text)


def test_two_objectives_cannot_be_stopped_early_or_started_warm(tmp_path: Path) -> None:
    text = SMALL.replace("demo", "demo, against: latency") + SEARCH
    said = one_problem(tmp_path, text + "scheduler: {name: median, grace: 100}\n")
    assert "scheduler.name: median stops by one score" in said
    assert "sampler.warm_start: " in one_problem(tmp_path, text + "sampler: {warm_start: [earlier]}\n")
    assert "stop.plateau_trials: " in one_problem(tmp_path, text + "stop: {plateau_trials: 3}\n")
    load(tmp_path, text + "scheduler: {name: none, grace: 100}\n")


def test_numbers_written_as_powers_of_ten_are_whole_sentences(tmp_path: Path) -> None:
    grace = load(tmp_path, f"{SMALL}scheduler: {{name: asha, grace: 1e5}}\n").scheduler.grace
    assert grace == 100_000 and isinstance(grace, int)
