"""`kill -9` of the driver, a trial or all of Ray; Ctrl-C once and twice; SIGTERM: nothing is lost, nothing doubled."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.cluster.driving import Sweep, outcome

TOLD = {"completed": "COMPLETE", "stopped": "PRUNED"}


@pytest.fixture
def sweep(workshop, environment, request) -> Iterator[Sweep]:
    found = Sweep(workshop, environment, f"k-{request.node.name.split('[')[-1].rstrip(']').replace('_', '-')[:40]}")
    yield found
    found.clean()


def mlflow_runs(sweep: Sweep) -> list[tuple[str, str, int]]:
    """(trial, status, scores) of every run of a trial."""
    with sqlite3.connect(sweep.workshop / "sweeps" / "mlflow.db") as store:
        return store.execute(
            "select t.value, r.status, (select count(*) from metrics m where m.run_uuid = r.run_uuid and key = 'score')"
            " from runs r join tags t on t.run_uuid = r.run_uuid and t.key = 'stsweep.trial'"
            " join tags s on s.run_uuid = r.run_uuid and s.key = 'stsweep.sweep' where s.value = ? order by t.value",
            (sweep.name,),
        ).fetchall()


def check_whole(sweep: Sweep, undisturbed: Sweep) -> None:
    """The same trials with the same rows, once each, in the record, in Optuna and in MLflow."""
    found = outcome(sweep.record)
    assert found == outcome(undisturbed.record)
    log = JournalStorage(JournalFileBackend(str(sweep.record.folder / "study.log")))
    study = optuna.load_study(storage=log, study_name=sweep.name)
    assert [trial.state.name for trial in study.trials] == [TOLD[trial["state"]] for trial in found]
    assert [trial.intermediate_values for trial in study.trials] == [
        {row["rung_index"]: row["score"] for row in trial["rows"]} for trial in found
    ]
    assert mlflow_runs(sweep) == [(str(trial["number"]), "FINISHED", len(trial["rows"])) for trial in found]


@pytest.mark.parametrize("what", ["driver", "trial", "ray"])
def test_what_was_killed_goes_on_and_ends_as_if_nothing_had_been(what, sweep, undisturbed):
    driver = sweep.start()
    sweep.wait_for("trials/0000/checkpoint/manifest.json")
    assert sweep.kill(what)
    if what == "trial":
        assert driver.wait(timeout=240) == 0, "the driver lives, and continues the trial"
    else:
        assert driver.wait(timeout=120) != 0
        sweep.wait_for_no_process()
        first = sweep.record.trials()[0]
        assert first.state == "interrupted"
        assert sweep.run_to_the_end() == 0, sweep.log.read_text()[-3000:]
    check_whole(sweep, undisturbed)


@pytest.mark.parametrize("turn", range(2))
def test_a_worker_that_is_killed_between_two_trials_costs_neither(turn, sweep, undisturbed):
    """It is then reset for the next trial, and what Tune itself does of a death differs from moment to moment."""
    driver = sweep.start()
    sweep.wait_for(f"trials/{turn:04d}/end.json", every_s=0.002)
    assert sweep.kill("trial")
    assert driver.wait(timeout=240) == 0, sweep.log.read_text()[-3000:]
    check_whole(sweep, undisturbed)


def test_a_driver_that_is_killed_after_the_last_trial_left_nothing_undone_that_resume_does_not_do(sweep, undisturbed):
    """The record is whole then, and the study and MLflow may be behind it."""
    driver = sweep.start()
    sweep.wait_for("trials/0002/end.json", every_s=0.002)
    assert sweep.kill("driver")
    driver.wait(timeout=60)
    sweep.wait_for_no_process()
    assert sweep.run_to_the_end() == 0, sweep.log.read_text()[-3000:]
    check_whole(sweep, undisturbed)


def test_a_running_sweep_is_refused_to_a_second_driver_which_is_told_the_first(sweep, stsweep):
    driver = sweep.start()
    sweep.wait_for("driver.json")
    refused = stsweep("resume", sweep.name)
    assert refused.returncode == 3, refused.stderr
    assert f"process {driver.pid} on {os.uname().nodename}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert stsweep("extend", sweep.name, "--trials", "2").returncode == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_saves_the_running_trial_and_says_how_to_go_on(number, code, sweep, undisturbed, stsweep):
    driver = sweep.start()
    sweep.wait_for("trials/0000/rows.jsonl")
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # as a terminal does: to every process of the group
    else:
        stopped = stsweep("stop", sweep.name)  # it sends SIGTERM, and waits
        assert stopped.returncode == 0, stopped.stderr
        assert f"stsweep resume {sweep.name}" in stopped.stdout
        assert not sweep.record.is_driven()
    assert driver.wait(timeout=60) == code, sweep.log.read_text()[-3000:]
    said = sweep.log.read_text()
    assert f"stsweep resume {sweep.name}" in said
    assert "Traceback" not in said
    assert (sweep.record.trial_folder(0) / "checkpoint" / "manifest.json").exists()
    sweep.wait_for_no_process()
    assert sweep.run_to_the_end() == 0, sweep.log.read_text()[-3000:]
    check_whole(sweep, undisturbed)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["prepare-int", "prepare-term"]
)
def test_a_signal_while_a_new_sweep_is_prepared_says_that_nothing_is_kept(number, code, sweep):
    """Ray's waiting loop is where it is heard."""
    driver = sweep.start()
    sweep.wait_for("code/sweep")
    while "preparing" not in sweep.log.read_text():
        assert driver.poll() is None
        time.sleep(0.02)
    time.sleep(0.5)
    driver.send_signal(number)
    assert driver.wait(timeout=60) == code, sweep.log.read_text()
    said = sweep.log.read_text()
    assert f"nothing had begun, so nothing is kept; again: stsweep run {sweep.name}.yaml" in said
    assert "Traceback" not in said
    assert not (sweep.root / sweep.name).exists()


@pytest.mark.parametrize("times", [2, 12], ids=["twice", "kept pressed"])
def test_a_second_ctrl_c_ends_at_once_and_leaves_no_process(times, workshop, environment):
    """Nor do those that follow it, which come while Ray is ended."""
    sweep = Sweep(workshop, environment, f"pressed-{times}", slots=2)
    try:
        driver = sweep.start()
        sweep.wait_for("trials/*/rows.jsonl")
        begin = time.monotonic()
        for _ in range(times):
            os.killpg(driver.pid, signal.SIGINT)
            time.sleep(0.2 if times == 2 else 0.05)  # of two that come while nothing of it runs the kernel keeps one
        assert driver.wait(timeout=30) == 130
        assert time.monotonic() - begin < 20
        assert "closed: ended at once" in sweep.log.read_text()
        sweep.wait_for_no_process(20)
        assert "Traceback" not in sweep.log.read_text()
    finally:
        sweep.clean()


def test_an_ended_sweep_is_extended_by_exactly_so_many_trials(sweep, undisturbed, stsweep):
    """Three asked, then two more: the three are those of the undisturbed sweep, as if five had been asked at once."""
    assert sweep.run_to_the_end() == 0, sweep.log.read_text()[-3000:]
    before = outcome(sweep.record)
    assert before == outcome(undisturbed.record)
    ran = stsweep("extend", sweep.name, "--trials", "2", RAY_TMPDIR=str(sweep.ray_folder))
    assert ran.returncode == 0, ran.stderr
    after = outcome(sweep.record)
    assert len(after) == len(before) + 2
    assert after[: len(before)] == before
    status = json.loads(stsweep("status", sweep.name, "--json").stdout)
    assert status["state"] == "finished"
    assert len(mlflow_runs(sweep)) == len(after)
