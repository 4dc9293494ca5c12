"""A worker that cannot be reset for its next trial, since the last one does not let go: that trial runs elsewhere.

Tune fails it without a word to searcher or scheduler (ray 2.60, `TuneController._on_trial_reset`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweep.record import Record

SPEC = """\
name: s
train: {optim: {batch_size: 16}, budget: {sentences: 256}}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-2, log: true}
sampler: {name: random}
scheduler: {name: asha, grace: 64, reduction_factor: 2}
objective: {task: demo, split: dev}
trials: 4
"""
DRIVER = """
import os, sys, time
from pathlib import Path

import ray
from ray import tune

from sweep.record import Record
from sweep.searcher import make_bridge
from sweep.spec.sweep_spec import load_spec

folder, slots = Path(sys.argv[1]), int(sys.argv[2])
spec = load_spec(folder / "s.yaml")
about = {"objective": "demo dev spearman", "rungs": [64, 128, 256], "searched": list(spec.searched), "trials": 4}
record = Record.create(folder / "sweeps", "s", spec.to_yaml(), about)
bridge, scheduler, _ = make_bridge(spec, record, room=lambda proposed: len(proposed) < slots)
trials = str(record.folder.resolve() / "trials")


def trial(config):
    from sweep.trial_record import RowLog
    from tests.unit.sweep.specs import row

    number = config["number"]
    log = RowLog(Path(trials) / f"{number:04d}")
    try:
        for index in range(3):
            # The first one is the best, and with a slot of its own it runs all the time.
            time.sleep(3 if number else 9 * (slots - 1) if index else 0)
            at = row(index, 90.0 - number)
            log.append(at)
            tune.report({name: getattr(at, name) for name in ("rung", "score", "rung_index", "failure", "is_end",
                                                             "busy_seconds")})
    finally:
        if number == 1:
            time.sleep(10)  # stopped, and still holding its worker


variables = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "1", "PYTHONPATH": os.environ["PYTHONPATH"]}
ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL",
         runtime_env={"env_vars": variables})
tune.Tuner(
    tune.with_resources(trial, {"cpu": 1}),
    tune_config=tune.TuneConfig(
        search_alg=bridge, scheduler=scheduler, num_samples=-1, reuse_actors=True
    ),
    run_config=tune.RunConfig(name="ray", storage_path=str(folder / "ray"), verbose=0),
).fit()
print("resets that failed:", sum((each / "deaths.jsonl").exists() for each in record.folder.glob("trials/*")))
"""
HOUSE = Path(__file__).parents[2]


@pytest.mark.parametrize("slots", [1, 2])
def test_its_trial_runs_on_another_worker_and_the_sweep_ends(slots, tmp_path, environment):
    (tmp_path / "s.yaml").write_text(SPEC)
    (tmp_path / "driver.py").write_text(DRIVER)
    variables = environment | {"PYTHONPATH": str(HOUSE), "RAY_AIR_NEW_OUTPUT": "0", "TUNE_MAX_PENDING_TRIALS_PG": "9"}
    ran = subprocess.run(
        [sys.executable, "driver.py", str(tmp_path), str(slots)],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "resets that failed: 1" in ran.stdout, "else nothing was tested"
    states = [trial.state for trial in Record.open(tmp_path / "sweeps", "s").trials()]
    assert states[0] == "completed"
    assert set(states[1:]) <= {"stopped", "completed"}
