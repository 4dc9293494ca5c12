"""A sweep that goes on: study, rungs and proposals rebuilt from the record, wherever its driver was killed."""

from __future__ import annotations

import json
import math
import os
from functools import partial

import optuna
import pytest
from ray.tune.search import Searcher

from sweep.errors import Refused, Unreachable
from sweep.record import Record
from sweep.trial_record import FLOOR, RowLog, pareto_front
from tests.unit.sweep.specs import row
from tests.unit.sweep.test_searcher import SPEC, Sweep

SAMPLERS = ["tpe", "random", "qmc", "nsga2", "cmaes", "gp"]
CONDITIONAL = """\
name: c
train: {optim: {batch_size: 16}, budget: {sentences: 256}, teacher: {name: ./teacher}, loss: {distillation_weight: 1}}
search:
  loss.contrastive_weight: {choices: [0.0, 0.1]}
  loss.temperature: {low: 0.01, high: 0.2, log: true, when: {loss.contrastive_weight: 0.1}}
  encoder.pooling: {choices: [cls, avg_last_hidden]}
sampler: {name: tpe, startup_trials: 4}
scheduler: {name: asha, grace: 64, reduction_factor: 2}
objective: {task: demo, split: dev}
trials: 12
"""


def score_of(knobs: dict, index: int) -> float:
    away = abs(math.log10(knobs["optim.learning_rate"]) + 3.5)
    return 50 - 10 * away + index + 2 * (knobs["encoder.pooling"] == "cls")


class Died(Exception):  # noqa: N818
    """The driver is gone, at once."""


def drive(sweep: Sweep, *, die_at: int | None = None) -> None:
    """One trial at a time, every row decided by the scheduler; dies before its `die_at`th act, if ever."""
    acts = iter(range(10_000))

    def act() -> None:
        if next(acts) == die_at:
            raise Died

    while True:
        act()
        proposed = sweep.bridge.suggest("ray")
        if proposed == Searcher.FINISHED:
            return
        trial = type("T", (), {"trial_id": "ray", "config": proposed, "status": "RUNNING"})
        sweep.scheduler.on_trial_add(None, trial)
        log = RowLog(sweep.record.trial_folder(proposed["number"]))
        for index in range(3):
            act()
            each = row(index, score_of(proposed["knobs"], index), time=1000.0 + proposed["number"] + index / 10)
            if index >= len(log.read()):
                log.append(each)
            act()
            result = {name: getattr(each, name) for name in ("rung", "score", "rung_index", "failure", "is_end")}
            decision = sweep.scheduler.on_trial_result(None, trial, result | {"busy_seconds": each.busy_seconds})
            if decision == "STOP":
                break
        act()
        sweep.scheduler.on_trial_complete(None, trial, {})
        sweep.bridge.on_trial_complete("ray")


def outcome(sweep: Sweep) -> list[tuple]:
    return [(trial.number, trial.point, trial.state, trial.score) for trial in sweep.record.trials()]


def told(sweep: Sweep) -> list[tuple]:
    return [
        (trial.number, trial.state.name, trial.values, trial.params, trial.intermediate_values, trial.constraints)
        for trial in sweep.study.trials
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_driver_that_dies_again_and_again_proposes_and_stops_what_an_undisturbed_one_does(tmp_path, sampler):
    changes = (f"sampler.name={sampler}", "sampler.startup_trials=3", "trials=6")
    undisturbed = Sweep(tmp_path / "a", SPEC, *changes)
    drive(undisturbed)
    disturbed = Sweep(tmp_path / "b", SPEC, *changes)
    for die_at in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        with pytest.raises(Died):
            drive(disturbed, die_at=die_at)
        disturbed.start()
    drive(disturbed)
    assert outcome(disturbed) == outcome(undisturbed)
    assert told(disturbed) == told(undisturbed)
    assert len(outcome(disturbed)) == 6


@pytest.mark.parametrize(("sampler", "notes"), [("cmaes", "trial"), ("nsga2", "trial"), ("qmc", "study")])
def test_what_a_sampler_notes_is_found_again(tmp_path, sampler, notes, monkeypatch):
    """Its generations, or its place in a sequence: without them the proposals would differ."""
    small = partial(optuna.samplers.NSGAIISampler, population_size=4)
    monkeypatch.setattr(optuna.samplers, "NSGAIISampler", small)
    changes = (f"sampler.name={sampler}", "sampler.startup_trials=2", "scheduler.name=none", "trials=16")
    text = SPEC.replace("{choices: [cls, avg_last_hidden]}", "{choices: [cls]}")
    undisturbed, disturbed = Sweep(tmp_path / "a", text, *changes), Sweep(tmp_path / "b", text, *changes)
    for number in range(16):
        disturbed.start()
        for sweep in (undisturbed, disturbed):
            proposed = sweep.bridge.suggest("ray")
            RowLog(sweep.record.trial_folder(number)).append(row(2, score_of(proposed["knobs"], 2)))
            sweep.bridge.on_trial_complete("ray")
    assert outcome(disturbed) == outcome(undisturbed)
    assert any(disturbed.record.notes(number).get(notes) for number in range(16)), "there is something to find"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_conditional_knobs_are_asked_only_where_they_count(tmp_path, sampler):
    sweep = Sweep(tmp_path, CONDITIONAL, f"sampler.name={sampler}", "trials=8")
    while sweep.run_one(row(0, 50.0), row(1, 50.0), row(2, 50.0)) is not None:
        pass
    trials = sweep.record.trials()
    assert len(trials) == 8
    for trial in trials:
        assert ("loss.temperature" in trial.point) == (trial.point["loss.contrastive_weight"] == 0.1)
        assert trial.config["loss.temperature"] == trial.point.get("loss.temperature", 0.05), "else as in `train`"
    assert {"loss.temperature" in trial.point for trial in trials} == {True, False}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "nsga2", "gp"])
def test_a_step_has_one_spelling_so_no_point_of_a_grid_comes_twice(tmp_path, sampler):
    """Optuna computes 0.15000000000000002 where a start point says 0.15."""
    space = SPEC.replace("{low: 1e-5, high: 1e-2, log: true}", "{low: 0.05, high: 0.25, step: 0.05}")
    space = space.replace("{choices: [cls, avg_last_hidden]}", "{choices: [cls]}")
    space += "points:\n  - {optim.learning_rate: 0.15}\n"
    sweep = Sweep(tmp_path, space, "trials=5", "sampler.startup_trials=2", f"sampler.name={sampler}")
    while sweep.run_one(row(0, 50.0), row(1, 50.0), row(2, 50.0)) is not None:
        pass
    tried = sorted(trial.point["optim.learning_rate"] for trial in sweep.record.trials())
    assert tried == [0.05, 0.1, 0.15, 0.2, 0.25]


def test_a_study_attribute_is_noted_by_the_trial_that_changed_it_alone(tmp_path):
    """Else each of 5,000 trials would hold what NSGA-II keeps of all generations."""
    sweep = Sweep(tmp_path, SPEC, "sampler.name=qmc", "trials=3")
    study = sweep.bridge._study.optuna
    study._storage.set_study_system_attr(study._study_id, "of a generation", "its parents")
    while sweep.run_one(row(0, 50.0), row(1, 50.0), row(2, 50.0)) is not None:
        pass
    kept = [sweep.record.notes(number)["study"] for number in range(3)]
    assert ["of a generation" in each for each in kept] == [True, False, False]
    assert all(any(key.startswith("qmc:") for key in each) for each in kept), "the place in the sequence, which moves"


def test_no_point_comes_twice_until_all_have_come(tmp_path):
    space = SPEC.replace("{low: 1e-5, high: 1e-2, log: true}", "{choices: [1e-4, 1e-3, 1e-2]}")
    sweep = Sweep(tmp_path, space, "trials=7", "sampler.startup_trials=2")
    while sweep.run_one(row(0, 50.0), row(1, 50.0), row(2, 50.0)) is not None:
        pass
    points = [json.dumps(trial.point) for trial in sweep.record.trials()]
    assert len(set(points[:6])) == 6, "three times two points there are"
    assert points[6] in points[:6]


def test_the_last_points_of_a_finite_space_are_found_too(tmp_path, monkeypatch):
    """Without a list of what is left, ten random draws, which are all it may take here, miss the last of 28."""
    monkeypatch.setattr("sweep.samplers._RANDOM_TRIES", 0)
    search = (
        "  optim.batch_size: {low: 8, high: 14}\n"
        "  encoder.pooling: {choices: [cls, avg_last2]}\n"
        "  loss.temperature: {low: 0.1, high: 0.3, step: 0.1, when: {encoder.pooling: cls}}\n"
    )
    text = SPEC.split("search:")[0] + "search:\n" + search + "sampler:" + SPEC.split("sampler:")[1]
    sweep = Sweep(tmp_path, text, "trials=29", "sampler.name=random", "scheduler.name=none")
    while sweep.run_one(row(2)) is not None:
        pass
    points = [json.dumps(trial.point, sort_keys=True) for trial in sweep.record.trials()]
    assert len(set(points)) == 28 == len(set(points[:28])), "7 sizes × (avg_last2 + cls at 3 temperatures)"


def test_start_points_come_first_and_only_once(tmp_path):
    text = SPEC + "points:\n- {optim.learning_rate: 1e-3, encoder.pooling: cls}\n- {encoder.pooling: cls}\n"
    sweep = Sweep(tmp_path, text)
    sweep.run_one(row(0), row(1), row(2))
    sweep.start()
    sweep.run_one(row(0), row(1), row(2))
    sweep.run_one(row(0), row(1), row(2))
    first, second, third = (trial.point for trial in sweep.record.trials())
    assert first == {"optim.learning_rate": 1e-3, "encoder.pooling": "cls"}
    assert second["encoder.pooling"] == "cls", "what a point leaves out is sampled"
    assert 1e-5 <= second["optim.learning_rate"] <= 1e-2
    assert third != first


def test_a_trial_that_was_paused_has_not_ended_and_comes_first_again(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.run_one(row(0), row(1), row(2))
    proposed = sweep.bridge.suggest("ray")
    RowLog(sweep.record.trial_folder(1)).append(row(0, 80.0))
    sweep.closing.close("interrupted")
    assert sweep.record.pause_file.exists()
    sweep.bridge.on_trial_complete("ray")
    assert sweep.bridge.suggest("more") == Searcher.FINISHED
    assert sweep.record.trials()[1].ended is None
    assert sweep.told(1).state.name == "RUNNING"
    sweep.record.resume_trials()
    sweep.start()
    again = sweep.bridge.suggest("other")
    assert (again["number"], again["knobs"]) == (1, proposed["knobs"])
    assert sweep.bridge.suggest("next")["number"] == 2


def test_a_driver_killed_between_the_last_row_and_the_end_ends_the_trial_without_running_it(tmp_path):
    sweep = Sweep(tmp_path)
    for number, rows in enumerate([(row(0), row(1), row(2, 60.0)), (row(0, FLOOR, failure="diverged"),)]):
        sweep.bridge.suggest(f"ray{number}")
        for each in rows:
            RowLog(sweep.record.trial_folder(number)).append(each)
    sweep.start()
    assert sweep.bridge.suggest("new")["number"] == 2
    assert [trial.state for trial in sweep.record.trials()[:2]] == ["completed", "diverged"]
    assert [trial.state.name for trial in sweep.study.trials[:2]] == ["COMPLETE", "PRUNED"]


def test_a_trial_whose_configuration_was_not_written_has_not_begun(tmp_path):
    sweep = Sweep(tmp_path)
    first = sweep.bridge.suggest("ray")
    (sweep.record.trial_folder(0) / "trial.json").unlink()
    sweep.record.release()
    sweep.record.drive("resume")
    sweep.start()
    assert sweep.bridge.suggest("ray") == first


def test_the_study_is_written_anew_so_what_a_killed_driver_left_of_it_does_not_matter(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.run_one(row(0), row(1), row(2))
    log = sweep.record.folder / "study.log"
    log.write_text(log.read_text()[:-20])
    (sweep.record.folder / "study.log.lock").symlink_to("study.log")
    sweep.start()
    assert [trial.state.name for trial in sweep.study.trials] == ["COMPLETE"]
    assert sweep.run_one(row(0), row(1), row(2)) == 1


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_samplers_that_know_completed_trials_alone_hear_of_a_failure_as_the_worst_so_far(tmp_path, sampler):
    sweep = Sweep(tmp_path, SPEC, f"sampler.name={sampler}", "sampler.startup_trials=10")
    sweep.run_one(row(0, FLOOR, failure="diverged"))
    sweep.run_one(row(0), row(1), row(2, 60.0))
    sweep.run_one(row(0), row(1), row(2, 40.0))
    sweep.run_one(row(0, FLOOR, failure="collapsed"))
    before = told(sweep)
    assert [each[1:3] for each in before] == [
        ("PRUNED", [FLOOR]),
        ("COMPLETE", [60.0]),
        ("COMPLETE", [40.0]),
        ("COMPLETE", [40.0]),
    ]
    sweep.start()
    assert told(sweep) == before


def test_a_second_driver_is_refused_with_the_firsts_process_and_machine(tmp_path):
    sweep = Sweep(tmp_path)
    other = Record(sweep.record.folder)
    with pytest.raises(Unreachable) as refused:
        other.drive("resume")
    assert str(os.getpid()) in str(refused.value)
    assert os.uname().nodename in str(refused.value)


def test_a_folder_that_everyone_may_write_is_not_driven(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.record.release()
    sweep.record.folder.chmod(0o777)
    with pytest.raises(Refused, match="written by everyone"):
        Record(sweep.record.folder).drive("resume")


def test_a_torn_last_row_is_cut_off(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.bridge.suggest("ray")
    log = RowLog(sweep.record.trial_folder(0))
    log.append(row(0))
    with log.path.open("a") as file:
        file.write('{"rung_index": 1, "ru')
    sweep.record.release()
    sweep.record.drive("resume")
    assert log.path.read_text().endswith("\n")
    assert log.read() == (row(0),)


def test_only_the_best_keep_their_encoders(tmp_path):
    sweep = Sweep(tmp_path, SPEC, "keep_best=2", "trials=5")
    for number, score in enumerate([10.0, 30.0, 20.0, 5.0, 40.0]):
        folder = sweep.record.trial_folder(number)
        sweep.bridge.suggest("ray")
        for name in ("encoder", "checkpoint"):
            (folder / name).mkdir()
        RowLog(folder).append(row(2, score))
        sweep.bridge.on_trial_complete("ray")
    kept = [trial.number for trial in sweep.record.trials() if (trial.folder / "encoder").exists()]
    assert kept == [1, 4]
    assert not list(sweep.record.folder.glob("trials/*/checkpoint"))


def test_a_larger_total_asks_exactly_the_trials_that_are_missing(tmp_path):
    sweep = Sweep(tmp_path, SPEC, "trials=2")
    while sweep.run_one(row(0), row(1), row(2)) is not None:
        pass
    longer = Sweep(tmp_path / "other", SPEC, "trials=5")
    while longer.run_one(row(0), row(1), row(2)) is not None:
        pass
    sweep.record.change(trials=5)
    sweep.start()
    while sweep.run_one(row(0), row(1), row(2)) is not None:
        pass
    assert outcome(sweep) == outcome(longer), "extended is as if asked for at once"


def test_two_objectives_give_a_front_whose_encoders_are_all_kept(tmp_path):
    text = SPEC.replace("scheduler: {name: asha, grace: 64, reduction_factor: 2}\n", "").replace(
        "split: dev}", "split: dev, against: size}"
    )
    sweep = Sweep(tmp_path, text, "keep_best=1", "trials=5")
    for number, (score, size) in enumerate([(50.0, 20.0), (60.0, 30.0), (40.0, 25.0), (45.0, 10.0)]):
        sweep.bridge.suggest("ray")
        folder = sweep.record.trial_folder(number)
        (folder / "encoder").mkdir()
        RowLog(folder).append(row(2, score, rung_index=0, size_mb=size))
        sweep.bridge.on_trial_complete("ray")
    sweep.run_one(row(0, FLOOR, failure="infeasible"))
    sweep.start()
    assert [trial.values for trial in sweep.study.trials[:4]] == [
        [50.0, 20.0],
        [60.0, 30.0],
        [40.0, 25.0],
        [45.0, 10.0],
    ]
    assert sorted(trial.number for trial in sweep.study.best_trials) == [0, 1, 3], "Optuna's own front"
    assert [trial.number for trial in pareto_front(sweep.record.trials())] == [1, 0, 3]
    assert [trial.number for trial in sweep.record.trials() if (trial.folder / "encoder").exists()] == [0, 1, 3]
