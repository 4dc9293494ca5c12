"""`stsweep check --probe` with real processes: what it measures is what training takes; it leaves nothing behind."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.packaging import _zip_files

from tests.program.conftest import Run

HOUSE = Path(__file__).parents[2]
SPEC = """\
name: costly
train:
  encoder: {name: ./encoder, pooling: avg_last_hidden}
  data: {corpus: [corpus.txt]}
  budget: {sentences: 3200}
search:
  optim.batch_size: {choices: [8, 32]}
  encoder.keep_layers: {choices: [[0], null]}
sampler: {name: random}
scheduler: {name: none}
objective: {task: demo, split: dev}
trials: 4
resources: {cpus_per_worker: 1, concurrent: 1, cost_per_hour: 3600}
"""

KILLED = """
import sys, threading, time
from multiprocessing import active_children
from pathlib import Path
from sweep.errors import Refused
from sweep.probe import probe
from sweep.spec.sweep_spec import load_spec

def kill():
    while not active_children():
        time.sleep(0.01)
    time.sleep(0.5)
    active_children()[0].kill()

if __name__ == "__main__":
    threading.Thread(target=kill, daemon=True).start()
    try:
        probe(load_spec(Path(sys.argv[1])), at_once=1)
    except Refused as refused:
        print(refused)
"""


@pytest.fixture(scope="module")
def spec(workshop: Path) -> str:
    (workshop / "costly.yaml").write_text(SPEC)
    return "costly.yaml"


@pytest.fixture(scope="module")
def estimate(stsweep: Run, spec: str, workshop: Path) -> dict[str, Any]:
    cache, sweeps = workshop / "cache-of-check", workshop / "sweeps-of-check"
    ran = stsweep("check", spec, "--probe", "--json", "--root", str(sweeps), STSWEEP_CACHE=str(cache))
    assert ran.returncode == 0, ran.stderr
    assert not cache.exists() and not sweeps.exists(), "it leaves nothing behind"
    found: dict[str, Any] = json.loads(ran.stdout)["estimate"]
    return found


def test_the_largest_configuration_is_measured(estimate: dict[str, Any]) -> None:
    assert estimate["largest"]["optim.batch_size"] == 32
    assert estimate["largest"]["encoder.keep_layers"] is None
    measured = estimate["measured"]
    assert measured["threads"] == 1
    assert measured["small_batch"] == 8 and measured["small_step_seconds"] > 0
    assert measured["step_seconds"] > 0 and measured["end_seconds"] > 0
    assert 100e6 < measured["resident_bytes"] < 3e9  # torch and transformers alone take some 400 MB


def test_a_real_run_takes_about_as_long(estimate: dict[str, Any], stsweep: Run, spec: str, workshop: Path) -> None:
    changes = ("--set", "optim.batch_size=32", "--set", "encoder.keep_layers=null")
    ran = stsweep("train", spec, "--out", "measured", *changes)
    assert ran.returncode == 0, ran.stderr
    row = json.loads((workshop / "measured" / "rows.jsonl").read_text().splitlines()[-1])
    expected = 100 * estimate["measured"]["step_seconds"]
    assert expected / 10 < row["train_seconds"] < 10 * expected  # other work on the machine slows either
    one_trial = 3600 * estimate["worker_hours"] / 4
    slower = max(expected, 400 * estimate["measured"]["small_step_seconds"])
    assert one_trial == pytest.approx(slower + estimate["measured"]["end_seconds"])


def test_a_sweep_that_costs_too_much_is_refused(estimate: dict[str, Any], stsweep: Run, spec: str) -> None:
    most = f"{estimate['cost'] / 100:.6f}"
    typed = ("check", spec, "--probe", "--set", "keep_best=2", "--max-cost", most)
    refused = stsweep(*typed)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "is the estimated cost" in refused.stderr
    assert f"\nNext: stsweep {' '.join(typed)} --set stop.cost={float(most)}" in refused.stderr


def test_what_a_most_cost_lacks_is_said_before_anything_is_measured(stsweep: Run, spec: str) -> None:
    refused = stsweep("check", spec, "--max-cost", "0", "--set", "resources.cost_per_hour=null")
    assert refused.returncode == 2
    assert "3 problems" in refused.stderr and "--probe" in refused.stderr


def test_a_process_that_is_killed_is_a_refusal_with_the_knobs_to_lower(
    workshop: Path, environment: dict[str, str], spec: str
) -> None:
    script = workshop / "killed_probe.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), spec]
    ran = subprocess.run(command, cwd=workshop, env=environment, capture_output=True, text=True, timeout=120)
    assert "was it memory?" in ran.stdout and "optim.batch_size 32" in ran.stdout, ran.stderr


def test_the_upload_is_what_ray_makes_of_the_four_packages(stsweep: Run, spec: str, tmp_path: Path) -> None:
    planned = json.loads(stsweep("check", spec, "--json").stdout)
    for package in ("sweep", "model", "evaluation", "search_spaces"):
        shutil.copytree(HOUSE / package, tmp_path / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "code.zip"
    _zip_files(
        str(tmp_path / "code"),
        excludes=[],
        output_path=str(target),
        include_parent_dir=False,
        include_gitignore=True,
        logger=logging.getLogger(),
    )
    assert planned["upload_bytes"] == target.stat().st_size
