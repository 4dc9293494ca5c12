"""A trial of two workers in Ray Train of which the second alone finds no memory, as a program: `lone_rank.py FOLDER`.

Real workers, and torch's own error of an allocation that no machine can make; the first worker trains, and waits for
the second in a collective. Prints the seconds until the trial was over.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import ray

import sweep.worker_group as worker_group
from model.config import TrainConfig
from sweep.object_store.trial import TrialHome
from sweep.placement import Ask
from sweep.trial import Job
from sweep.trial_record import begin_attempt
from tests.tiny import tiny_encoder_folder

HOUSE = Path(__file__).parents[2]
JOB = Job(rungs=(64, 128), task="demo", split="dev", metric="spearman", data_dir=None, threads=1)


def rank(config: dict[str, Any]) -> None:
    """One worker; the second fails when its attempt begins."""
    import torch

    trains = worker_group.attempt

    def attempt(*given: Any, ranks: Any, **named: Any) -> None:
        if not ranks.is_first:
            torch.empty(10**15)
        trains(*given, ranks=ranks, **named)

    worker_group.attempt = attempt
    worker_group._rank(config)  # this process's own, which main() has not replaced


def main() -> None:
    folder = Path(sys.argv[1])
    encoder = tiny_encoder_folder(folder / "encoder")
    trial = folder / "trials" / "0000"
    trial.mkdir(parents=True)
    attempt = begin_attempt(trial)
    given = {"encoder.name": str(encoder), "data.corpus": "demo", "optim.batch_size": 16, "budget.sentences": 128}
    knobs = TrainConfig.from_flat(given).flatten()
    worker_group._rank = rank
    ray.init(address="local", num_cpus=2, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(HOUSE)}})
    begin = time.monotonic()
    reports: list[dict[str, Any]] = []
    worker_group.run_on_workers(
        JOB, Ask(2, 1, 0), TrialHome(trial, attempt), knobs, reports.append, storage=folder / "storage"
    )
    print(f"{time.monotonic() - begin:.1f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
