"""Trials of two workers: real Ray Train runs inside a real sweep, beside the same trials of one worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweep.deaths import deaths_of
from sweep.trial_record import ERROR, FLOOR, RowLog, Trial
from tests.cluster.conftest import Head
from tests.cluster.driving import Sweep, title_of

ONE = ("--set", "encoder.dropout=0", "--set", "sampler.seed=2")
TWO = (*ONE, "--set", "resources.workers=2")
HOUSE = Path(__file__).parents[2]


def ranks_of(sweep: Sweep) -> list[int]:
    """The processes that train one trial together."""
    return [pid for pid in sweep.processes() if "TrainWorker" in title_of(pid)]


def ranks_on(head: Head) -> set[int]:
    """The same, of all sweeps on a head."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if "TrainWorker" in title_of(process.pid):
                above = [" ".join(parent.cmdline()) for parent in process.parents()]
                found |= {process.pid} if any(str(head.folder) in command for command in above) else set()
    return found


def run(sweep: Sweep, *changes: str) -> list[Trial]:
    assert sweep.start("run", f"{sweep.name}.yaml", *changes).wait(timeout=300) == 0, sweep.log.read_text()
    return sweep.record.trials()


def check_rows(trial: Trial) -> None:
    """Every rung once, in order, up to where the trial ended."""
    assert [row.rung_index for row in trial.rows] == list(range(len(trial.rows)))
    assert trial.rows[-1].is_end == (trial.state == "completed")


@pytest.fixture(scope="module")
def alone(workshop, environment):
    sweep = Sweep(workshop, environment, "onealone")
    yield run(sweep, *ONE)
    sweep.clean()


def test_two_workers_find_what_one_finds_every_report_arrives_and_a_stop_frees_them(workshop, alone, head):
    """On a cluster, where the next trial has been proposed, and waits for what the stopped one holds."""
    sweep = Sweep(workshop, head.environment, "twotrain")
    try:
        driver = sweep.start("run", "twotrain.yaml", "--address", head.address, *TWO)
        freed, seen = {}, set()
        while driver.poll() is None:
            seen |= ranks_on(head)
            for path in (sweep.root / sweep.name).glob("trials/*/end.json"):
                if path in freed:
                    continue
                left = ranks_on(head)
                while left & ranks_on(head) and time.time() - path.stat().st_mtime < 20:
                    time.sleep(0.1)
                freed[path] = time.time() - RowLog(path.parent).read()[-1].time
            time.sleep(0.1)
        assert driver.returncode == 0, sweep.log.read_text()
        trials = sweep.record.trials()
        assert [trial.state for trial in trials] == [trial.state for trial in alone]
        assert "stopped" in [trial.state for trial in trials], "else nothing was freed early"
        for two, one in zip(trials, alone, strict=True):
            check_rows(two)
            assert two.point == one.point
            assert len(two.rows) == len(one.rows)
            for row, expected in zip(two.rows, one.rows, strict=True):
                assert row.score == pytest.approx(expected.score, abs=0.1)
                assert row.loss == pytest.approx(expected.loss, rel=1e-2)
                assert (row.step, row.sentences) == (expected.step, expected.sentences)
        assert len(seen) >= 2, "else no worker was looked for"
        assert len(freed) == len(trials)
        assert max(freed.values()) < 5, "from a trial's last row until none of its workers was there"
        assert not ranks_on(head)
    finally:
        sweep.clean()


def test_a_killed_worker_is_a_failure_and_its_trial_goes_on_from_its_checkpoint(workshop, environment):
    sweep = Sweep(workshop, environment, "tworanks", trials=1)
    try:
        driver = sweep.start("run", "tworanks.yaml", *TWO, "--set", "budget.sentences=9600")
        sweep.wait_for("trials/0000/checkpoint/manifest.json")
        first, *_ = (sweep.root / sweep.name / "trials/0000").glob("attempt")
        os.kill(ranks_of(sweep)[-1], signal.SIGKILL)
        assert driver.wait(timeout=200) == 0, sweep.log.read_text()
        (trial,) = sweep.record.trials()
        assert trial.state == "completed"
        check_rows(trial)
        deaths = deaths_of(trial.folder)
        assert (deaths.failures, deaths.preemptions) == (1, 0), deaths.said
        assert first.read_text() == "2"
        assert "it goes on from its last checkpoint" in sweep.log.read_text()
        assert not (trial.folder / "note.txt").exists(), "nothing was trained from the start again"
    finally:
        sweep.clean()


def test_a_trial_begun_on_two_workers_goes_on_on_one(workshop, environment):
    sweep = Sweep(workshop, environment, "twotoone", trials=1)
    try:
        driver = sweep.start("run", "twotoone.yaml", *TWO, "--set", "budget.sentences=9600")
        sweep.wait_for("trials/0000/checkpoint/manifest.json")
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=60) == 130, sweep.log.read_text()
        (begun,) = sweep.record.trials()
        assert begun.state == "interrupted"
        assert sweep.start("resume", "twotoone", "--set", "resources.workers=1").wait(timeout=200) == 0
        (trial,) = sweep.record.trials()
        assert trial.state == "completed"
        check_rows(trial)
        assert trial.rows[: len(begun.rows)] == begun.rows
        assert not (trial.folder / "note.txt").exists()
    finally:
        sweep.clean()


def test_a_trial_that_diverges_on_its_ranks_has_its_row_and_one_of_one_worker_holds_nothing_back(workshop, environment):
    sweep = Sweep(workshop, environment, "twonan", trials=3)
    try:
        spec = workshop / "twonan.yaml"
        text = spec.read_text().replace("{low: 1e-4, high: 1e-2, log: true}", "{low: 1e-4, high: 1e20, log: true}")
        case = "{when: {optim.learning_rate: {low: 1}}, workers: 2}"
        text = text.replace("resources: {", f"resources: {{cases: [{case}], ")
        rates = ", ".join(f"{{optim.learning_rate: {rate}}}" for rate in ("1e20", "1e-3", "1e19"))
        spec.write_text(f"{text}points: [{rates}]\n")
        trials = run(sweep, *ONE)
        assert [trial.state for trial in trials] == ["diverged", "completed", "diverged"]
        assert "diverged at step" in (trials[0].reason or "")
        assert trials[0].rows[-1].failure == "diverged"
        assert trials[0].rows[-1].busy_seconds > 0.1, "what was trained until then counts"
    finally:
        sweep.clean()


def meets_alone(scenario: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What comes of a trial of which one worker alone meets something (`lone_rank.py`)."""
    ray_folder = Path(f"/tmp/rl{os.getpid()}")  # short: a socket's path has at most 107 bytes
    ray_folder.mkdir()
    try:
        variables = environment | {"RAY_TMPDIR": str(ray_folder), "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
        program = [sys.executable, "-m", "tests.cluster.lone_rank", scenario, str(folder)]
        ran = subprocess.run(program, env=variables, cwd=HOUSE, capture_output=True, text=True, timeout=180)
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert found["seconds"] < 90, "gloo would wait for half an hour"
    return found


def test_a_worker_that_alone_finds_no_memory_ends_the_trial_as_infeasible(tmp_path, environment):
    assert not meets_alone("no_memory", tmp_path, environment)["raised"]
    trial = tmp_path / "trials" / "0000"
    (row,) = RowLog(trial).read()
    assert (row.failure, row.score, row.is_end) == ("infeasible", FLOOR, False)
    assert "can't allocate memory" in (trial / ERROR).read_text()


def test_a_first_worker_that_was_superseded_ends_the_others_and_writes_nothing(tmp_path, environment):
    assert not meets_alone("superseded", tmp_path, environment)["raised"]
    trial = tmp_path / "trials" / "0000"
    assert RowLog(trial).read() == ()
    assert not (trial / ERROR).exists()


def test_a_worker_that_is_lost_with_its_node_is_no_failure(tmp_path, environment):
    """What the other one says is only that a connection broke."""
    found = meets_alone("lost_node", tmp_path, environment)
    assert (found["raised"], found["is_preemption"]) == (True, True)
    assert [row.rung_index for row in RowLog(tmp_path / "trials" / "0000").read()] == [0]
