"""A real sweep of the quickstart's student: stsweep beside a plain script of Ray Tune, OptunaSearch and ASHAScheduler.

    python benchmarks/real_sweep.py [--seeds 3] [--trials 12] [--turns 2] [--points 8]    (0 leaves a part out)

The script is what a user writes after the two libraries' documentation; it trains and scores with the same `model` and
`evaluation`, in the same precision at each rung, and keeps its workers from trial to trial as stsweep does. What
stsweep does beside that (durable rows, checkpoints, the best encoders, MLflow) is its own, and its cost counts. Whoever
runs first changes from turn to turn.

1. Search: the same space, seeds, trials, slots and rungs; the best dev score among the trials that reached the top, of
   all, and of those that were there before as many sentences had been trained as the thriftier of the two trained in
   all. (The plain script's own choice, `get_best_result`, may be a stopped trial; it is given the best that was not.)
2. Overhead: the same configurations, nothing stopped; slots × wall time ÷ trials, from the first trial's start to the
   last one's end, without the start of Ray and what is prepared once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

HOUSE = Path(__file__).resolve().parents[1]
SLOTS = 2
TOP = 6400

Reports = list[dict[str, Any]]
"""What one trial reported: `score`, `sentences`, and in seconds since the epoch `started` (the trial) and `ended`."""

PLAIN = """
import json, sys, time
from functools import partial
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

folder, seed, trials = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
points, base = json.loads(sys.argv[4]), json.loads(sys.argv[5])

def trainable(config):
    from evaluation.score import score
    from evaluation.tasks import load_pairs
    from model.config import TrainConfig
    from model.device import choose_device
    from model.precision import resolve_precision
    from model.training import train
    started = time.time()
    trained = TrainConfig.from_flat(base | config.get("point", config))
    fast = "bf16" if resolve_precision(trained.precision, choose_device(None)) == "bf16" else "fp32"
    pairs = load_pairs("demo", "dev", None)
    for at in train(trained, evaluate_at=[1600, 3200, 6400], threads=1):
        precision = "fp32" if at.is_end else fast
        encode = partial(at.encoder.encode, precision=precision, cache_tokens=True)
        found = score(encode, [pairs])[0].spearman
        tune.report({"score": found, "sentences": at.rung, "started": started, "ended": time.time()})

ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
if points:
    space = {"point": tune.grid_search(points)}
    how = tune.TuneConfig(metric="score", mode="max", reuse_actors=True)
else:
    space = {
        "optim.learning_rate": tune.loguniform(5e-5, 1e-3),
        "loss.contrastive_weight": tune.choice([0.0, 0.1, 0.3]),
        "loss.temperature": tune.loguniform(0.03, 0.2),
        "loss.distillation": tune.choice(["cosine", "similarity"]),
        "encoder.pooling": tune.choice(["avg_last_hidden", "avg_last2", "avg_all_hidden", "avg_first_last"]),
    }
    asha = ASHAScheduler(time_attr="sentences", grace_period=1600, max_t=6400, reduction_factor=2)
    how = tune.TuneConfig(
        metric="score", mode="max", num_samples=trials, search_alg=OptunaSearch(seed=seed), scheduler=asha,
        reuse_actors=True,
    )
tuner = tune.Tuner(
    tune.with_resources(trainable, {"cpu": 1}),
    param_space=space,
    tune_config=how,
    run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
)
reported = [result.metrics_dataframe for result in tuner.fit() if result.metrics and "score" in result.metrics]
print(json.dumps([rows[["score", "sentences", "started", "ended"]].to_dict("records") for rows in reported]))
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--trials", type=int, default=12)
    options.add_argument("--turns", type=int, default=2)
    options.add_argument("--points", type=int, default=8)
    asked = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))
    try:
        if asked.seeds:
            _search(folder, asked.seeds, asked.trials)
        if asked.turns:
            _overhead(folder, asked.turns, asked.points)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _search(folder: Path, seeds: int, trials: int) -> None:
    differences, at_equal = [], []
    print(f"search, {trials} trials, {SLOTS} at once: best dev score, sentences trained; the best at equal sentences")
    for seed in range(seeds):
        ours, plain = _by_turns(
            seed,
            partial(_stsweep, folder, f"s{seed}", f"sampler.seed={seed}", f"trials={trials}"),
            partial(_plain, folder / f"p{seed}", seed, trials, []),
        )
        totals = [sum(reports[-1]["sentences"] for reports in found) for found in (ours, plain)]
        best = [_best(found, max(totals)) for found in (ours, plain)]
        equal = [_best(found, min(totals)) for found in (ours, plain)]
        differences.append(best[0] - best[1])
        at_equal.append(equal[0] - equal[1])
        print(
            f"seed {seed}: stsweep {best[0]:.2f} ({totals[0]:,}), plain {best[1]:.2f} ({totals[1]:,}); "
            f"at {min(totals):,} stsweep {equal[0]:.2f}, plain {equal[1]:.2f}",
            flush=True,
        )
    print(f"mean difference of the winners: {mean(differences):+.2f} points (to reach: ≥ −0.30)")
    print(f"mean difference at equal sentences: {mean(at_equal):+.2f} points")


def _overhead(folder: Path, turns: int, count: int) -> None:
    rates, poolings = (1e-4, 2e-4, 4e-4, 8e-4), ("avg_last_hidden", "avg_last2")
    points = [
        {"optim.learning_rate": rate, "encoder.pooling": pooling, "loss.contrastive_weight": 0.0}
        for rate in rates
        for pooling in poolings
    ][:count]
    ratios = []
    for turn in range(turns):
        ours, plain = _by_turns(
            turn,
            partial(_stsweep, folder, f"o{turn}", points=points),
            partial(_plain, folder / f"q{turn}", 0, 1, points),
        )
        took = [_slot_seconds(found) for found in (ours, plain)]
        ratios.append(took[0] / took[1])
        print(
            f"turn {turn}: slot seconds a trial: stsweep {took[0]:.1f}, plain {took[1]:.1f}, {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"{count} equal trials, stsweep ÷ plain, median of {turns}: {median(ratios):.2f} (to reach: ≤ 1.10)")


def _by_turns(
    turn: int, ours: Callable[[], list[Reports]], plain: Callable[[], list[Reports]]
) -> tuple[list[Reports], list[Reports]]:
    """What stsweep and the plain script reported; stsweep runs first in even turns."""
    if turn % 2 == 0:
        return ours(), plain()
    theirs = plain()
    return ours(), theirs


def _best(trials: list[Reports], most: int) -> float:
    """The best score at the top that was there when all trials together had trained on `most` sentences; else nan.

    Sentences count when they are reported, as in a simulated sweep.
    """
    events = []
    for reports in trials:
        before = 0
        for each in reports:
            events.append((each["ended"], each["sentences"] - before, each))
            before = each["sentences"]
    best, trained = math.nan, 0
    for _, more, each in sorted(events, key=lambda event: event[0]):
        trained += more
        if trained <= most and each["sentences"] >= TOP and not best >= each["score"]:
            best = float(each["score"])
    return best


def _slot_seconds(trials: list[Reports]) -> float:
    span = max(reports[-1]["ended"] for reports in trials) - min(reports[0]["started"] for reports in trials)
    return float(SLOTS * span / len(trials))


def _stsweep(folder: Path, name: str, *changes: str, points: list[dict[str, Any]] | None = None) -> list[Reports]:
    """Run a sweep."""
    import search_spaces

    text = (search_spaces.folder() / "quickstart.yaml").read_text()
    if points is not None:
        text = text.split("search:")[0] + "search:\n" + _grid(points) + "objective: {task: demo, split: dev}\n"
        text += (
            "scheduler: {name: none, grace: 1600, reduction_factor: 2}\nsampler: {name: grid}\n"
            "resources: {cpus_per_worker: 1}\n"
        )
    spec = folder / f"{name}.yaml"
    spec.write_text(text)
    flags = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "sweep", "run", str(spec), "--root", str(folder), "--name", name, *flags]
    subprocess.run(command, cwd=HOUSE, env=_environment(), check=True, capture_output=True)
    status = subprocess.run(
        [sys.executable, "-m", "sweep", "status", name, "--root", str(folder), "--json"],
        cwd=HOUSE, env=_environment(), check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [
        [
            {"score": row["score"], "sentences": row["rung"], "started": row["started"], "ended": row["time"]}
            for row in trial["rows"]
        ]
        for trial in json.loads(status)["trial"]
        if trial["rows"]
    ]


def _grid(points: list[dict[str, Any]]) -> str:
    return "".join(
        "  - {" + ", ".join(f"{knob}: {{choices: [{value}]}}" for knob, value in point.items()) + "}\n"
        for point in points
    )


def _plain(folder: Path, seed: int, trials: int, points: list[dict[str, Any]]) -> list[Reports]:
    """Run the script."""
    import search_spaces
    from sweep.spec.sweep_spec import load_spec

    base = load_spec(search_spaces.folder() / "quickstart.yaml").train.flatten()
    folder.mkdir()
    script = folder / "plain.py"
    script.write_text(PLAIN)
    arguments = [str(folder), str(seed), str(trials), json.dumps(points), json.dumps(base)]
    ran = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=HOUSE, env=_environment(), capture_output=True, text=True
    )
    if ran.returncode:
        sys.exit(ran.stderr[-3000:])
    found: list[Reports] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def _environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HOUSE), "RAY_AIR_NEW_OUTPUT": "0"}


if __name__ == "__main__":
    main()
