"""What the failure of workers that trained together means for their trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.train.v2.api.exceptions import WorkerGroupError

import model.device
import model.precision
import model.ranks  # noqa: F401
import sweep.worker_group as worker_group
from model.config import TrainConfig
from model.errors import DivergedError, InputError
from sweep.files import write_json
from sweep.object_store.trial import TrialHome
from sweep.trial import Job
from sweep.trial_folder import SupersededError, UnsharedError
from sweep.trial_record import BUSY, ERROR, RowLog, begin_attempt
from sweep.worker_group import RankError

JOB = Job(rungs=(64, 128), task="demo", split="dev", metric="spearman", data_dir=None, threads=1)


def judge(folder: Path, error: BaseException, attempt: int, **knobs: Any) -> list[dict[str, Any]]:
    """What Tune is told."""
    told: list[dict[str, Any]] = []
    flat = TrainConfig.from_flat({"budget.sentences": 128} | knobs).flatten()
    worker_group._judge(error, (), JOB, TrialHome(folder, attempt), flat, told.append)
    return told


def failed(*states: str) -> WorkerGroupError:
    """Ranks that failed so, in this order."""
    return WorkerGroupError("said", {rank: RankError(state, f"{state} here") for rank, state in enumerate(states)})


def test_a_failure_on_gpus_is_told_by_a_process_that_has_none_with_the_time_it_took(tmp_path: Path) -> None:
    write_json(tmp_path / BUSY, {"seconds": 7.5})
    (told,) = judge(tmp_path, failed("died", "diverged"), begin_attempt(tmp_path), precision="fp16")
    (row,) = RowLog(tmp_path).read()
    assert (row.failure, row.precision, told["failure"]) == ("diverged", "fp16", "diverged")
    assert row.busy_seconds >= 7.5
    assert "diverged here" in (tmp_path / ERROR).read_text()


@pytest.mark.parametrize("state", ["diverged", "errored", "superseded"])
def test_who_was_superseded_writes_nothing(tmp_path: Path, state: str) -> None:
    first = begin_attempt(tmp_path)
    begin_attempt(tmp_path)
    assert judge(tmp_path, failed(state), first) == []
    assert RowLog(tmp_path).read() == ()
    assert not (tmp_path / ERROR).exists()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"), "died"),
        (RuntimeError("NCCL error: unhandled system error"), "died"),
        (UnsharedError("gpu7 does not have the trial's folder"), "died"),
        (InputError("/data/gloomy/corpus.txt: no such file"), "errored"),
        (SupersededError("attempt 1 was superseded by attempt 2"), "superseded"),
        (DivergedError("diverged at step 3"), "diverged"),
        (OSError(28, "No space left on device"), "disk"),
    ],
)
def test_what_a_rank_failed_by_is_told_apart(error: Exception, state: str) -> None:
    assert worker_group._as_rank_error(error).state == state
