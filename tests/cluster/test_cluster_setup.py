"""What cluster.yaml, deploy/onprem.yaml and deploy/Dockerfile install, in a clean virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
HOME = "/home/ubuntu"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A node's home after the setup commands of cluster.yaml: what they copy, and what they install."""
    home = tmp_path_factory.mktemp("node")
    cluster = YAML(typ="safe").load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    for remote, local in cluster["file_mounts"].items():
        if not local.startswith("~"):
            target = home / Path(remote).relative_to(HOME)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / local).is_dir():
                shutil.copytree(ROOT / local, target, ignore=shutil.ignore_patterns("__pycache__"))  # `rsync_exclude`
            else:
                shutil.copy(ROOT / local, target)
    made = [line for line in cluster["setup_commands"] if "-m venv" in line or "pip install" in line]
    assert len(made) == 2
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    clean |= {"HOME": str(home), "PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"}
    clean.setdefault("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))  # else in the new home
    for command in made:
        ran = subprocess.run(["bash", "-c", command], env=clean, capture_output=True, text=True, timeout=280)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    return home


@pytest.mark.parametrize("words", [("--help",), ("check", "quickstart")], ids=" ".join)
def test_the_command_works_where_a_node_was_set_up(home, tmp_path, words):
    clean = {"HOME": str(home), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}
    command = [str(home / "venv" / "bin" / "stsweep"), *words]
    ran = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr


def test_every_version_is_that_of_the_constraints(home):
    listed = subprocess.run(
        [str(home / "venv" / "bin" / "python"), "-m", "pip", "freeze", "--exclude", "stsweep"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    constraints = {line.lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert len(listed) > 50
    assert [line for line in listed if line.lower().replace("+cpu", "") not in constraints] == []
