"""`kill -9`: what was written stays whole, and the record says what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SPEC = """
name: killed
train:
  encoder: {{name: {encoder}}}
  data: {{corpus: [{corpus}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 200000}}
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-3, log: true}}
sampler: {{name: random}}
scheduler: {{name: asha, grace: 64, reduction_factor: 4}}
objective: {{task: demo, split: dev}}
trials: 4
"""


def _processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_killed_driver_leaves_its_rows_an_interrupted_sweep_and_no_process(workshop, environment, stsweep, tmp_path):
    (workshop / "killed.yaml").write_text(SPEC.format(encoder=workshop / "encoder", corpus=workshop / "corpus.txt"))
    folder = workshop / "sweeps" / "killed"
    ray_folder = Path(f"/tmp/rk{os.getpid()}")
    variables = environment | {"RAY_TMPDIR": str(ray_folder)}
    ray_folder.mkdir()
    with (tmp_path / "driver.log").open("w") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "sweep", "run", "killed.yaml", "--root", "sweeps"],
            cwd=workshop, env=variables, stdout=log, stderr=log,
        )  # fmt: skip
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in folder.glob("trials/*/rows.jsonl")):
        assert driver.poll() is None and time.monotonic() < deadline, (tmp_path / "driver.log").read_text()
        time.sleep(0.2)
    running = json.loads(stsweep("status", "killed", "--json").stdout)
    assert running["state"] == "running"
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    after = json.loads(stsweep("status", "killed", "--json").stdout)
    assert after["state"] == "interrupted"
    assert any(trial["rows"] for trial in after["trial"])
    assert {trial["state"] for trial in after["trial"]} <= {"interrupted", "stopped", "completed"}
    refused = stsweep("run", "killed.yaml", "--name", "killed")
    assert refused.returncode == 2
    deadline = time.monotonic() + 60
    while left := _processes_naming(str(ray_folder)):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
