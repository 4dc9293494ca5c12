"""A trial of two workers in Ray Train of which one alone meets something: `lone_rank.py SCENARIO FOLDER`.

Real workers and real errors; the other worker trains, and waits for that one in a collective. Prints what came of the
trial, as JSON, and the seconds until it was over.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

import sweep.worker_group as worker_group
from model.config import TrainConfig
from sweep.deaths import is_preemption
from sweep.object_store.trial import TrialHome
from sweep.placement import Ask
from sweep.trial import Job
from sweep.trial_record import begin_attempt
from tests.tiny import tiny_encoder_folder

HOUSE = Path(__file__).parents[2]
JOB = Job(rungs=(64, 640_000), task="demo", split="dev", metric="spearman", data_dir=None, threads=1)


def no_memory(is_first: bool, folder: Path) -> None:
    """The second finds no memory: an allocation that no machine can make."""
    import torch

    if not is_first:
        torch.empty(10**15)


def superseded(is_first: bool, folder: Path) -> None:
    """A later attempt begins, which the first alone looks for."""
    if is_first:
        begin_attempt(folder)


def lost_node(is_first: bool, folder: Path) -> None:
    """The second says where it is, for its node to be killed."""
    if not is_first:
        (folder / "victim").write_text(ray.get_runtime_context().get_node_id())


SCENARIOS = {each.__name__: each for each in (no_memory, superseded, lost_node)}


def rank_of(scenario: Callable[[bool, Path], None]) -> Callable[[dict[str, Any]], None]:
    """What a worker of Train runs: the rank's own part, with the scenario before its attempt."""

    def rank(config: dict[str, Any]) -> None:
        trains = worker_group.attempt

        def attempt(job: Job, folder: Path, *given: Any, ranks: Any, **named: Any) -> None:
            scenario(ranks.is_first, folder)
            trains(job, folder, *given, ranks=ranks, **named)

        worker_group.attempt = attempt
        worker_group._rank(config)  # this process's own, which main() has not replaced

    return rank


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    encoder = tiny_encoder_folder(folder / "encoder")
    trial = folder / "trials" / "0000"
    trial.mkdir(parents=True)
    given = {"encoder.name": str(encoder), "data.corpus": "demo", "optim.batch_size": 16, "budget.sentences": 640_000}
    knobs = TrainConfig.from_flat(given).flatten()
    worker_group._rank = rank_of(SCENARIOS[name])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    variables = {key: value for key, value in os.environ.items() if key.startswith("RAY_TRAIN")}
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        runtime_env={"env_vars": variables | {"PYTHONPATH": str(HOUSE), "GLOO_SOCKET_IFNAME": "lo"}},
    )

    def kill_its_node() -> None:
        while not (trial / "rows.jsonl").exists():
            time.sleep(0.1)
        cluster.remove_node(
            next(node for node in nodes if node.node_id == (trial / "victim").read_text()), allow_graceful=False
        )

    if name == "lost_node":
        threading.Thread(target=kill_its_node, daemon=True).start()
    begin, found = time.monotonic(), {"raised": False, "is_preemption": False}
    try:
        home = TrialHome(trial, begin_attempt(trial))
        worker_group.run_on_workers(JOB, Ask(2, 1, 0), home, knobs, lambda row: None, storage=folder / "storage")
    except Exception as error:
        found |= {"raised": True, "is_preemption": is_preemption(str(error))}
    print(json.dumps(found | {"seconds": time.monotonic() - begin}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
