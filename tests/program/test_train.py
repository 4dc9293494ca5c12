"""`stsweep train`: one configuration in one process, killed with no warning and taken up again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sweep.trial_record import Row, RowLog

SPEC = """
name: alone
train:
  encoder: {name: ./encoder, keep_layers: [0, 5], pooling: avg_last_hidden}
  data: {corpus: [corpus.txt]}
  optim: {batch_size: 16, learning_rate: 1e-3}
  budget: {sentences: 6400}
  precision: fp32
scheduler: {name: asha, grace: 400, reduction_factor: 2}
objective: {task: demo, split: dev}
resources: {cpus_per_worker: 1}
trials: 1
"""
RUNGS = [400, 800, 1600, 3200, 6400]


@pytest.fixture(scope="module", autouse=True)
def spec(workshop: Path) -> None:
    (workshop / "alone.yaml").write_text(SPEC)


@pytest.fixture(scope="module")
def undisturbed(workshop, stsweep):
    ran = stsweep("train", "alone.yaml", "--out", "undisturbed")
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def killed(workshop, environment) -> Path:
    """The folder of a run that SIGKILL ended after its first rung."""
    folder = workshop / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep", "train", "alone.yaml", "--out", "killed"],
        cwd=workshop,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 100
        while not (RowLog(folder).read() and (folder / "checkpoint").exists()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL, "it had ended before: the budget is too short for this machine"
    return folder


def measured(folder: Path) -> list[tuple[float, int, int, float, float | None]]:
    """What of the rows does not depend on time."""

    def plain(row: Row) -> tuple[float, int, int, float, float | None]:
        return row.rung, row.step, row.sentences, row.score, row.loss

    return [plain(row) for row in RowLog(folder).read()]


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_killed_run_ends_as_the_undisturbed_one(undisturbed, killed, workshop, stsweep):
    before = measured(killed)
    assert 1 <= len(before) < len(RUNGS)
    resumed = stsweep("train", "alone.yaml", "--out", "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    after = measured(killed)
    assert after[: len(before)] == before
    assert after == measured(workshop / "undisturbed")
    assert [rung for rung, *_ in after] == RUNGS
    printed = [ran.stdout.split(";")[0] for ran in (resumed, undisturbed)]
    assert printed[0] == printed[1] == f"demo dev spearman {after[-1][3]:.2f} after 6,400 sentences"


def test_both_left_the_same_encoder(undisturbed, killed, workshop, stsweep):
    from model.encoder import load_encoder, saved_config

    stsweep("train", "alone.yaml", "--out", "killed", "--resume")
    sentences = ["A cat sleeps on the warm step.", "Rain."]
    one, other = (
        load_encoder(saved_config(folder / "encoder")).encode(sentences)
        for folder in (killed, workshop / "undisturbed")
    )
    np.testing.assert_array_equal(one, other)


def test_resuming_a_run_that_has_ended_says_its_score_again_and_trains_nothing(undisturbed, workshop, stsweep):
    before = contents(workshop / "undisturbed")
    again = stsweep("train", "alone.yaml", "--out", "undisturbed", "--resume")
    assert (again.returncode, again.stdout) == (0, undisturbed.stdout)
    assert contents(workshop / "undisturbed") == before


def test_a_folder_that_exists_is_refused_and_nothing_in_it_changes(undisturbed, workshop, stsweep):
    before = contents(workshop / "undisturbed")
    again = stsweep("train", "alone.yaml", "--out", "undisturbed")
    assert again.returncode == 2
    assert "undisturbed exists already" in again.stderr
    assert "--resume" in again.stderr
    assert contents(workshop / "undisturbed") == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optim.learning_rate=1e-2", "optim.learning_rate: 0.001 in undisturbed and 0.01 now"),
        ("scheduler.grace=3200", "scheduler: rungs 400, 800, 1600, 3200, 6400 in undisturbed and rungs 3200, 6400 now"),
        ("scheduler.reduction_factor=4", "and rungs 400, 1600, 6400 now"),
        ("objective.metric=pearson", "objective: demo dev spearman in undisturbed and demo dev pearson now"),
    ],
)
def test_going_on_as_another_run_is_refused(undisturbed, workshop, stsweep, change, said):
    """Rows of one folder at other rungs or of another objective could not be compared."""
    before = contents(workshop / "undisturbed")
    other = stsweep("train", "alone.yaml", "--out", "undisturbed", "--resume", "--set", change)
    assert other.returncode == 2
    assert said in other.stderr
    assert contents(workshop / "undisturbed") == before


def test_a_missing_corpus_is_refused_and_leaves_no_folder(workshop, stsweep):
    refused = stsweep("train", "alone.yaml", "--out", "none", "--set", "data.corpus=gone.txt")
    assert refused.returncode == 2
    assert "gone.txt" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (workshop / "none").exists()


def test_resuming_from_a_damaged_checkpoint_is_refused_and_nothing_changes(undisturbed, workshop, stsweep):
    """A trial of a sweep would begin anew by itself; here a person decides."""
    shutil.copytree(workshop / "undisturbed", workshop / "damaged")
    weights = workshop / "damaged" / "checkpoint" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    before = contents(workshop / "damaged")
    refused = stsweep("train", "alone.yaml", "--out", "damaged", "--resume")
    assert refused.returncode == 2
    assert "weights.safetensors has" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert contents(workshop / "damaged") == before


def test_a_run_may_be_scored_at_seconds_of_training(workshop, stsweep):
    seconds = ("--set", "scheduler.axis=seconds", "--set", "scheduler.grace=0.05", "--set", "budget.sentences=1600")
    seconds += ("--set", "scheduler.reduction_factor=3")
    ran = stsweep("train", "alone.yaml", "--out", "timed", *seconds)
    assert ran.returncode == 0, ran.stderr
    *rungs, end = RowLog(workshop / "timed").read()
    assert [row.rung for row in rungs] == [0.05 * 3**row.rung_index for row in rungs]
    assert all(row.rung <= row.train_seconds for row in rungs)
    assert (end.sentences, end.is_end, end.rung) == (1600, True, end.train_seconds)
    assert ran.stderr.count(" s  score ") == len(rungs) + 1


def test_resuming_what_never_began_is_refused_and_leaves_no_folder(workshop, stsweep):
    refused = stsweep("train", "alone.yaml", "--out", "never", "--resume")
    assert refused.returncode == 2
    assert "no checkpoint" in refused.stderr
    assert not (workshop / "never").exists()


def test_a_training_without_a_score_says_why_and_exits_with_one(workshop, stsweep):
    ended = stsweep("train", "alone.yaml", "--out", "diverged", "--set", "optim.learning_rate=1e30")
    assert ended.returncode == 1
    assert "diverged at step" in ended.stdout
    assert [row.failure for row in RowLog(workshop / "diverged").read()] == ["diverged"]


def test_sentence_transformers_loads_what_was_trained_with_its_own_pooling(undisturbed, workshop):
    from sentence_transformers import SentenceTransformer

    from model.encoder import load_encoder, saved_config

    sentences = ["A cat sleeps on the warm step.", "Rain."]
    ours = load_encoder(saved_config(workshop / "undisturbed" / "encoder")).encode(sentences)
    theirs = SentenceTransformer(str(workshop / "undisturbed" / "export")).encode(sentences)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
