"""The built wheel, from a folder that holds a user's own `model.py` and `evaluation.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
SHADOW = "raise ImportError('the user\\'s own module was imported in place of stsweep\\'s')\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The wheel, unpacked as pip would install it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(HOUSE)],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def users_folder(tmp_path, workshop):
    for name in ("model.py", "evaluation.py", "search_spaces.py"):
        (tmp_path / name).write_text(SHADOW)
    (tmp_path / "small.yaml").write_text(
        f"""
name: shadowed
train:
  encoder: {{name: {workshop / "encoder"}}}
  data: {{corpus: [{workshop / "corpus.txt"}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 32}}
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-3, log: true}}
sampler: {{name: random}}
objective: {{task: demo, split: dev}}
trials: 2
"""
    )
    return tmp_path


def test_the_wheel_holds_the_four_packages_and_their_data(site):
    for file in (
        "model/demo/sentences.txt",
        "evaluation/demo/dev.tsv",
        "search_spaces/quickstart.yaml",
        "sweep/cli/__init__.py",
    ):
        assert (site / file).exists()
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {
        "model",
        "evaluation",
        "search_spaces",
        "sweep",
    }


def test_a_sweep_runs_beside_the_users_own_model_and_evaluation_modules(site, users_folder, workshop):
    """`python -m` puts the user's folder first on the path, and Ray would put it first on every worker's."""
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "STSWEEP_CACHE": str(workshop / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("RAY_ADDRESS", None)
    ran = subprocess.run(
        [sys.executable, "-m", "sweep", "run", "small.yaml"],
        cwd=users_folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert "2 completed" in ran.stdout


def test_a_module_of_the_same_name_imported_before_is_named(site, users_folder):
    (users_folder / "model.py").write_text("")
    ran = subprocess.run(
        [sys.executable, "-c", "import model, sweep"],
        cwd=users_folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode != 0
    assert str(users_folder / "model.py") in ran.stderr
