"""Whole-program tests: the installed command in processes of its own, small encoders, real Ray, a real MLflow store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model.corpus import read_corpus
from tests.tiny import tiny_encoder_folder

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder of DistilBERT's architecture, six layers, and 300 sentences."""
    folder = tmp_path_factory.mktemp("workshop")
    tiny_encoder_folder(folder / "encoder", architecture="distilbert", layers=6, width=32)
    (folder / "corpus.txt").write_text("\n".join(read_corpus(["demo"])[:300]) + "\n")
    return folder


@pytest.fixture(scope="session")
def environment(workshop: Path) -> dict[str, str]:
    """Variables for the command: caches and a root of its own, no Hub, no cluster."""
    variables = os.environ | {
        "STSWEEP_CACHE": str(workshop / "cache"),
        "STSWEEP_ROOT": str(workshop / "sweeps"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    variables.pop("RAY_ADDRESS", None)
    return variables


@pytest.fixture(scope="session")
def stsweep(workshop: Path, environment: dict[str, str]) -> Run:
    """Run the command in `workshop`, with caches of its own; returns the finished process with its texts."""

    def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sweep", *arguments],
            cwd=cwd or workshop,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
