"""A disk that fills up under a sweep, on a small file system of its own: it closes, and goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.driving import Sweep, outcome


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """40 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes what is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_a_full_disk_closes_the_sweep_which_then_goes_on_as_if_nothing_had_been(
    small_disk, undisturbed, workshop, environment
):
    sweep = Sweep(workshop, environment, "full", root=small_disk)
    try:
        driver = sweep.start()
        sweep.wait_for("trials/*/rows.jsonl")
        filler = fill(small_disk)
        assert driver.wait(timeout=120) == 130, sweep.log.read_text()[-3000:]
        said = sweep.log.read_text()
        assert "closed: a disk's fault: No space left on device" in said
        assert f"to go on: stsweep resume full --root {small_disk}" in said
        assert "Traceback" not in said
        assert [trial.state for trial in sweep.record.trials()] == ["interrupted"]
        filler.unlink()
        assert sweep.run_to_the_end() == 0, sweep.log.read_text()[-3000:]
        assert outcome(sweep.record) == outcome(undisturbed.record)
    finally:
        sweep.clean()
