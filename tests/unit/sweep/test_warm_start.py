"""What an earlier sweep found, told to a new one before its first trial."""

from __future__ import annotations

import pytest

from sweep.errors import Refused
from sweep.record import Record
from sweep.spec.sweep_spec import rungs
from sweep.trial_record import RowLog
from sweep.warm_start import find_earlier
from tests.unit.sweep.specs import load, row, write_trial
from tests.unit.sweep.test_searcher import SPEC, Sweep

POINT = {"optim.learning_rate": 1e-3, "encoder.pooling": "cls"}


def earlier(root, spec, /, **about) -> Record:
    """A sweep named `old` with a completed, a stopped, a diverged and an errored trial."""
    known = {
        "objective": "demo dev spearman",
        "rungs": list(rungs(spec)),
        "searched": list(spec.searched),
        "trials": 4,
    }
    record = Record.create(root / "sweeps", "old", spec.to_yaml(), known | about)
    config = spec.train.flatten()
    for number, (rows, state) in enumerate(
        [
            ([row(0), row(1), row(2, 70.0)], "completed"),
            ([row(0, 40.0)], "stopped"),
            ([row(0, -100.0, failure="diverged")], "diverged"),
            ([], "errored"),
        ]
    ):
        point = POINT | {"optim.learning_rate": 10.0 ** -(number + 2)}
        folder = record.add_trial(number, point, config | point)
        for each in rows:
            RowLog(folder).append(each)
        record.end_trial(number, state)
    record.release()
    return record


def test_ended_trials_come_first_in_the_study_and_the_sweeps_own_numbers_follow(tmp_path):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    earlier(tmp_path, spec)
    found = find_earlier(spec, tmp_path / "sweeps")
    sweep = Sweep(tmp_path, SPEC, "sampler.warm_start=old", warm_start=found.trials)
    assert sweep.run_one(row(0), row(1), row(2, 60.0)) == 3
    sweep.start()
    assert sweep.run_one(row(0), row(1), row(2, 50.0)) == 4
    states = [(trial.state.name, trial.values) for trial in sweep.study.trials]
    assert states == [
        ("COMPLETE", [70.0]),
        ("PRUNED", [40.0]),
        ("PRUNED", [-100.0]),
        ("COMPLETE", [60.0]),
        ("COMPLETE", [50.0]),
    ]
    assert [any(value > 0 for value in trial.constraints.values()) for trial in sweep.study.trials[:3]] == [
        False,
        False,
        True,
    ]
    assert [trial.number for trial in sweep.record.trials()] == [3, 4]
    assert "3 of 3" in found.notes[0]


def test_a_sweep_that_searches_nothing_is_told_so(tmp_path):
    earlier(tmp_path, load(tmp_path, SPEC))
    fixed = ("optim.learning_rate=1e-3", "encoder.pooling=cls", "trials=1", "sampler.warm_start=old")
    with pytest.raises(Refused) as refused:
        find_earlier(load(tmp_path, SPEC, *fixed), tmp_path / "sweeps")
    (problem,) = refused.value.problems
    assert problem.message == "old: searched optim.learning_rate, encoder.pooling, and this sweep searches nothing"


def test_a_second_sweep_of_a_file_starts_warm_from_the_first_under_another_name(tmp_path):
    spec = load(tmp_path, SPEC.replace("name: s\n", "name: old\n", 1), "sampler.warm_start=old")
    assert spec.name == "old"
    earlier(tmp_path, spec)
    assert len(find_earlier(spec.model_copy(update={"name": "new"}), tmp_path / "sweeps").trials) == 3


def test_a_knob_that_was_not_searched_is_taken_from_the_configuration_where_that_lies_in_this_space(tmp_path):
    old = load(tmp_path, SPEC.replace("  encoder.pooling: {choices: [cls, avg_last_hidden]}\n", ""))
    record = Record.create(
        tmp_path / "sweeps",
        "old",
        old.to_yaml(),
        {"objective": "demo dev spearman", "rungs": list(rungs(old)), "searched": ["optim.learning_rate"], "trials": 1},
    )
    write_trial(record, 0, [row(2, 70.0)], "completed")
    record.release()
    for number, pooling in ((1, "cls"), (2, "avg_all_hidden")):
        point = {"optim.learning_rate": 1e-4}
        record.add_trial(number, point, old.train.flatten() | point | {"encoder.pooling": pooling})
        RowLog(record.trial_folder(number)).append(row(2, 71.0))
        record.end_trial(number, "completed")
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    taken = [each["point"] for each in find_earlier(spec, tmp_path / "sweeps").trials]
    assert {"optim.learning_rate": 1e-4, "encoder.pooling": "cls"} in taken
    assert all(set(point) == {"optim.learning_rate", "encoder.pooling"} for point in taken), "TPE drops parts of points"


def test_a_trial_outside_the_space_is_left_out(tmp_path):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    earlier(tmp_path, spec)
    narrow = load(tmp_path, SPEC.replace("high: 1e-2", "high: 5e-3"), "sampler.warm_start=old")
    found = find_earlier(narrow, tmp_path / "sweeps")
    assert [each["point"]["optim.learning_rate"] for each in found.trials] == [1e-3, 1e-4]
    assert "2 of 3" in found.notes[0]


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"objective": "stsb dev spearman"}, "stsb dev spearman"),
        ({"rungs": [64, 512]}, "512"),
        ({"searched": ["loss.temperature"]}, "loss.temperature"),
    ],
)
def test_a_sweep_that_does_not_compare_is_refused_with_the_reason(tmp_path, about, word):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    earlier(tmp_path, spec, **about)
    with pytest.raises(Refused) as refused:
        find_earlier(spec, tmp_path / "sweeps")
    assert word in str(refused.value)
    assert "sampler.warm_start" in str(refused.value)


def test_all_that_is_wrong_with_warm_starts_is_said_at_once(tmp_path):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old,gone,lost")
    earlier(tmp_path, spec, objective="stsb dev spearman", searched=["loss.temperature"])
    with pytest.raises(Refused) as refused:
        find_earlier(spec, tmp_path / "sweeps")
    assert len(refused.value.problems) == 4


def test_a_trial_that_differs_in_a_knob_that_is_not_searched_is_another_training(tmp_path):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    earlier(tmp_path, spec)
    other = load(tmp_path, SPEC, "sampler.warm_start=old", "optim.weight_decay=0.1")
    with pytest.raises(Refused, match=r"none of its 3 ended trials.*differ in optim.weight_decay"):
        find_earlier(other, tmp_path / "sweeps")


def test_a_trial_with_another_value_of_a_knob_that_is_not_asked_at_its_point_is_another_training(tmp_path):
    """A sweep that searched the rate everywhere tells one that asks it only beside `cls` nothing of other poolings."""
    everywhere = load(tmp_path, SPEC)
    record = earlier(tmp_path, everywhere)
    default = everywhere.train.flatten()
    for number, rate in ((4, 5e-3), (5, default["optim.learning_rate"])):
        point = {"optim.learning_rate": rate, "encoder.pooling": "avg_last_hidden"}
        record.add_trial(number, point, default | point)
        RowLog(record.trial_folder(number)).append(row(2, 41.0))
        record.end_trial(number, "completed")
    text = SPEC.replace("1e-2, log: true}", "1e-2, log: true, when: {encoder.pooling: cls}}")
    found = find_earlier(load(tmp_path, text, "sampler.warm_start=old"), tmp_path / "sweeps").trials
    assert [told["point"] for told in found if told["point"]["encoder.pooling"] != "cls"] == [
        {"encoder.pooling": "avg_last_hidden"}
    ]


def test_a_sweep_on_another_corpus_is_taken_with_a_note(tmp_path):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    earlier(tmp_path, spec)
    assert "corpus" not in " ".join(find_earlier(spec, tmp_path / "sweeps").notes)
    other = load(tmp_path, SPEC, "sampler.warm_start=old", "data.corpus=sentences.txt")
    found = find_earlier(other, tmp_path / "sweeps")
    assert len(found.trials) == 3
    assert "old trained on another corpus" in found.notes[0]


def test_of_a_sweep_with_other_rungs_only_completed_trials_are_taken_with_their_last_score(tmp_path):
    spec = load(tmp_path, SPEC, "sampler.warm_start=old")
    earlier(tmp_path, spec)
    other = load(tmp_path, SPEC, "sampler.warm_start=old", "scheduler.grace=32")
    found = find_earlier(other, tmp_path / "sweeps")
    assert [(trial["state"], list(trial["scores"].values())) for trial in found.trials] == [("completed", [70.0])]


def test_seconds_that_are_not_the_same_milestones_do_not_compare(tmp_path):
    by_seconds = ("sampler.warm_start=old", "scheduler.axis=seconds", "scheduler.grace=10")
    spec = load(tmp_path, SPEC, *by_seconds)
    earlier(tmp_path, spec, axis="seconds", spec=spec.model_dump(mode="json"))
    assert len(find_earlier(spec, tmp_path / "sweeps").trials) == 3
    later = load(tmp_path, SPEC, *by_seconds, "scheduler.grace=1000")
    assert [trial["state"] for trial in find_earlier(later, tmp_path / "sweeps").trials] == ["completed"]


def test_a_point_has_the_knobs_that_are_asked_there_and_a_failure_is_not_searched_again(tmp_path):
    text = SPEC.replace("1e-2, log: true}", "1e-2, log: true, when: {encoder.pooling: cls}}")
    spec = load(tmp_path, text, "sampler.warm_start=old", "sampler.startup_trials=1")
    record = earlier(tmp_path, spec)
    record.add_trial(
        4, {"encoder.pooling": "avg_last_hidden"}, spec.train.flatten() | {"encoder.pooling": "avg_last_hidden"}
    )
    RowLog(record.trial_folder(4)).append(row(0, -100.0, failure="infeasible"))
    record.end_trial(4, "infeasible")
    found = find_earlier(spec, tmp_path / "sweeps").trials
    assert found[-1]["point"] == {"encoder.pooling": "avg_last_hidden"}
    sweep = Sweep(tmp_path, text, "sampler.warm_start=old", "sampler.startup_trials=1", warm_start=found)
    assert {sweep.bridge.suggest(f"ray{number}")["knobs"]["encoder.pooling"] for number in range(4)} == {"cls"}
