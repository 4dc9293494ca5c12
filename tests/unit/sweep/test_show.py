"""What `ls`, `status` and `best` say of records that were written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweep.errors import Refused
from sweep.record import Record
from sweep.show import (
    best_json,
    best_text,
    going_on_text,
    outcome_text,
    status_json,
    status_text,
    sweeps_json,
    sweeps_text,
)
from sweep.trial_record import FLOOR
from tests.unit.sweep.specs import RUNGS, STARTED, new_record, row, write_trial


@pytest.fixture
def finished(tmp_path: Path) -> Record:
    record = new_record(tmp_path, "done")
    write_trial(record, 0, [row(0, 90.0)], "stopped")
    write_trial(record, 1, [row(0, 10.0), row(1, 20.0), row(2, 30.0)], "completed")
    write_trial(record, 2, [row(0, 10.0), row(1, 20.0), row(2, 40.125)], "completed")
    write_trial(record, 3, [row(0, FLOOR, failure="diverged", loss=None)], "diverged", "first line\nthe loss is inf\n")
    record.write_baselines({"untrained": 12.345, "teacher": None, "lexical": 50.0})
    record.change(slots=2)
    record.release()
    return record


@pytest.fixture
def failed(tmp_path: Path) -> Record:
    record = new_record(tmp_path, "failed")
    for number in range(3):
        write_trial(record, number, [], "errored", f"Traceback …\nOSError: disk {number // 2}")
    write_trial(record, 3, [row(0, FLOOR, failure="collapsed")], "collapsed", "all the same")
    record.change(slots=1)
    record.release()
    return record


@pytest.fixture
def begun(tmp_path: Path) -> Record:
    """Driven by this process, no trial yet."""
    return new_record(tmp_path, "begun")


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_ls_has_a_line_a_sweep_oldest_first(finished, failed, begun):
    found = sweeps_json(begun.folder.parent)
    assert [each["name"] for each in found] == ["done", "failed", "begun"]
    assert [each["state"] for each in found] == ["finished", "finished", "running"]
    assert [each["best_score"] for each in found] == [40.125, None, None]
    assert [each["best_trial"] for each in found] == [2, None, None]
    assert found[0]["trials"] == {"stopped": 1, "completed": 2, "diverged": 1}
    assert found[2]["trials"] == {}
    json.dumps(found, allow_nan=False)
    done, failing, none = sweeps_text(begun.folder.parent).splitlines()
    assert done.split()[:4] == ["done", "finished", "best", "40.12"]
    assert "4 trials (2 completed, 1 stopped, 1 diverged)" in done
    assert "no best yet" in failing
    assert "3 errored" in failing
    assert none.split()[:2] == ["begun", "running"]
    assert none.endswith("0 trials")


def test_ls_of_an_empty_root_says_what_to_do(tmp_path):
    assert sweeps_json(tmp_path / "nowhere") == []
    assert "Next: stsweep run" in sweeps_text(tmp_path / "nowhere")


def test_ls_says_why_a_record_cannot_be_read_and_lists_the_others(finished, failed):
    failed.change(format=99)
    done, newer = sweeps_text(finished.folder.parent).splitlines()
    assert "best 40.12" in done
    assert newer.split()[:2] == ["failed", "unreadable"]
    assert "record format 99" in newer


@pytest.mark.parametrize("ended", [True, False])
def test_a_sweep_whose_driver_is_gone_is_interrupted_unless_every_trial_has_ended(tmp_path, ended):
    record = new_record(tmp_path, trials=1)
    write_trial(record, 0, [row(0)], "stopped" if ended else None)
    assert sweeps_json(tmp_path)[0]["state"] == "running"
    record.release()
    assert sweeps_json(tmp_path)[0]["state"] == ("finished" if ended else "interrupted")


def test_a_sweep_that_lacks_trials_is_interrupted(tmp_path):
    record = new_record(tmp_path, trials=2)
    write_trial(record, 0, [row(2)], "completed")
    record.release()
    assert sweeps_json(tmp_path)[0]["state"] == "interrupted"


def test_status_has_every_trial_with_its_rows(finished):
    said = status_json(finished)
    assert (said["name"], said["state"], said["best_trial"]) == ("done", "finished", 2)
    assert said["rungs"] == list(RUNGS)
    assert said["baselines"] == {"untrained": 12.345, "teacher": None, "lexical": 50.0}
    assert [trial["state"] for trial in said["trial"]] == ["stopped", "completed", "completed", "diverged"]
    assert [each["score"] for each in said["trial"][2]["rows"]] == [10.0, 20.0, 40.125]
    assert said["trial"][0]["point"] == {"loss.temperature": 0.25}
    assert said["trial"][0]["config"] == {"loss.temperature": 0.25, "seed": 0}
    json.dumps(said, allow_nan=False)


def test_the_status_text_lists_the_trials_best_first_and_the_reasons(finished):
    text = status_text(finished)
    first, header, *rows = lines(text)
    assert first[:2] == ["done:", "finished;"]
    assert header == ["trial", "state", "rung", "sentences", "score", "temperature"]
    assert rows[:4] == [
        ["0002", "completed", "3/3", "256", "40.12", "0.75"],
        ["0001", "completed", "3/3", "256", "30.00", "0.5"],
        ["0000", "stopped", "1/3", "64", "90.00", "0.25"],
        ["0003", "diverged", "1/3", "64", "-100.00", "1"],
    ]
    assert "trial 0003 diverged: the loss is inf" in text
    assert "untrained 12.35" in text or "untrained 12.34" in text
    assert "teacher no score" in text
    assert "\x1b" not in text


def test_status_before_the_first_trial(begun):
    assert status_json(begun)["trial"] == []
    first, header, *rest = status_text(begun).splitlines()
    assert first.startswith("begun: running; 0 trials")
    assert header.split()[0] == "trial"
    assert rest == ["no baselines on demo dev spearman yet"]


def test_status_of_a_sweep_in_which_everything_failed(failed):
    assert status_json(failed)["best_score"] is None
    text = status_text(failed)
    assert "trial 0000 errored: OSError: disk 0" in text
    assert "trial 0003 collapsed: all the same" in text
    assert ["0000", "errored", "0.25"] in lines(text), "no rung, no sentences, no score"


def test_best_is_the_trial_with_its_knobs_and_the_baselines(finished):
    said = best_json(finished)
    assert (said["sweep"], said["number"], said["score"], said["state"]) == ("done", 2, 40.125, "completed")
    assert said["point"] == {"loss.temperature": 0.75}
    assert said["baselines"]["lexical"] == 50.0
    json.dumps(said, allow_nan=False)
    first, knob, beside = best_text(finished).splitlines()
    assert first == "best trial 0002: demo dev spearman 40.12 after 256 sentences"
    assert knob.split() == ["loss.temperature", "0.75"]
    assert "lexical 50.00" in beside


@pytest.mark.parametrize(("untrained", "is_told"), [(40.2, True), (40.1, False), (None, False)])
def test_a_winner_that_training_made_worse_is_called_so(finished, untrained, is_told):
    finished.write_baselines({"untrained": untrained, "lexical": 90.0})
    assert ("below the untrained encoder" in best_text(finished)) is is_told


@pytest.mark.parametrize("name", ["failed", "begun"])
def test_without_a_completed_trial_best_is_refused_with_the_next_command(name, request):
    record = request.getfixturevalue(name)
    for say in (best_json, best_text):
        with pytest.raises(Refused, match="no trial of") as refused:
            say(record)
        assert refused.value.next.startswith(f"stsweep status {name}")


def test_the_outcome_names_the_best_the_busy_share_and_the_next_commands(finished):
    text = outcome_text(finished, 61.4)
    assert "4 trials (2 completed, 1 stopped, 1 diverged) in 61 s" in text
    # 10 + 30 + 30 + 10 busy seconds of 2 slots × 36 s, from the rows' own times
    assert row(2).time - STARTED == 36
    assert f"workers busy {80 / (2 * 36):.2f} of 2 slots" in text
    assert "best trial 0002" in text
    assert "Next: stsweep export done" in text


def test_the_outcome_without_a_best_counts_the_reasons(failed):
    text = outcome_text(failed, 3)
    assert "no trial reached the top rung" in text
    assert "2 × OSError: disk 0" in text
    assert "1 × OSError: disk 1" in text
    assert "Next: stsweep status failed" in text


def test_who_goes_on_is_told_what_stands_and_what_is_to_come(tmp_path):
    record = new_record(tmp_path, trials=5)
    write_trial(record, 0, [row(0)], "stopped")
    write_trial(record, 1, [row(0)], "completed")
    write_trial(record, 2, [row(0)], None)
    assert going_on_text(record, 0).endswith(
        "2 trials have ended and stay, 1 go on from their last checkpoint, 2 are to begin"
    )
    assert going_on_text(record, 3).endswith("5 are to begin")


def test_the_outcome_of_a_sweep_without_a_trial(begun):
    text = outcome_text(begun, 0)
    assert "0 trials" in text
    assert "busy" not in text
