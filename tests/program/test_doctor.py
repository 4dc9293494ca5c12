"""stsweep doctor on this machine alone: its exit codes, its JSON, and that it starts nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

KEYS = {"level", "check", "where", "found", "remedy"}
CHECKS = {
    *("versions", "gpus", "cpus", "shared memory", "open files", "variables"),
    *("disk of root", "disk of cache", "disk of Ray's temporary folder", "root", "token", "tracking", "hub"),
}


def test_this_machine_is_looked_at_without_a_ray(stsweep):
    with TemporaryDirectory(dir="/tmp") as folder:  # not pytest's, whose path is too long for Ray's sockets
        ran = stsweep("doctor", "--json", RAY_TMPDIR=folder, RAY_AUTH_TOKEN="secret-word")
        made = list(Path(folder).iterdir())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found.keys() == {"address", "reachable", "worst", "lines"}
    assert {line["check"] for line in found["lines"]} == CHECKS
    assert all(line.keys() == KEYS and line["where"] == "here" for line in found["lines"])
    assert all(line["remedy"] for line in found["lines"] if line["level"] != "ok")
    assert made == [], "no Ray has made its folder"
    assert "secret-word" not in ran.stdout + ran.stderr


def test_neither_ray_nor_torch_is_loaded(environment, workshop):
    script = (
        "import sys; from sweep.doctor.examine import examine\n"
        "examine(None, 'sweeps')\n"
        "print(sorted({'ray', 'torch', 'mlflow', 'transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=workshop, env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_what_is_bad_is_exit_code_2_with_its_remedy(stsweep, tmp_path):
    (tmp_path / "sweeps").write_text("")
    ran = stsweep("doctor", "--root", str(tmp_path / "sweeps"), RAY_AUTH_MODE="disabled")
    assert ran.returncode == 2, ran.stdout
    assert "bad   root" in ran.stdout
    assert "→ unset RAY_AUTH_MODE" in ran.stdout
    assert "Next: " in ran.stdout


def test_a_cluster_that_does_not_answer_is_exit_code_3_beside_the_rest(stsweep):
    ran = stsweep("doctor", "--address", "127.0.0.1:1", "--json")
    assert ran.returncode == 3, ran.stderr
    found = json.loads(ran.stdout)
    assert found["reachable"] is False
    assert {line["check"] for line in found["lines"]} == {*CHECKS, "cluster"}
    assert "127.0.0.1:1" in next(line["found"] for line in found["lines"] if line["check"] == "cluster")


def test_this_machine_takes_less_than_two_seconds_of_processor_time(stsweep):
    before = os.times()
    assert stsweep("doctor").returncode == 0
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 2, "the wall's seconds are those of this machine's other work too"
