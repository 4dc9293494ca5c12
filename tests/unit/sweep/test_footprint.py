"""What a sweep takes on its disk and on the way to its workers."""

from __future__ import annotations

import shutil
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from model.config import TrainConfig
from model.training import train
from sweep.footprint import disk_of, disk_problem, said_bytes, upload_bytes
from sweep.spec.sweep_spec import SweepSpec
from tests.tiny import tiny_encoder_folder
from tests.unit.sweep.specs import load

HOUSE = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder_folder(tmp_path_factory.mktemp("tiny") / "encoder", layers=2, width=128)


def spec_of(folder: Path, encoder: Path, *changes: str) -> SweepSpec:
    text = f"name: s\nobjective: {{task: demo}}\ntrials: 20\ntrain: {{encoder: {{name: {encoder}}}}}\n"
    return load(folder, f"{text}search: {{optim.learning_rate: {{low: 1e-5, high: 1e-4}}}}\n", *changes)


def tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_checkpoint_is_as_large_as_one_that_was_written(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
    config = TrainConfig.from_flat({"encoder.name": str(encoder), "optim.batch_size": 4, "budget.sentences": 4})
    with closing(train(config, threads=1)) as training:
        for progress in islice(training, 1):
            progress.save(tmp_path / "checkpoint")
    trial = disk_of(spec_of(tmp_path, encoder), 20, 1, None).trial
    assert trial is not None
    assert trial == pytest.approx(2 * tree_bytes(tmp_path / "checkpoint"), rel=0.05)  # the old one and the new one


def test_the_folder_holds_the_kept_encoders_the_checkpoints_and_the_code(tmp_path: Path, encoder: Path) -> None:
    weights = (encoder / "model.safetensors").stat().st_size
    disk = disk_of(spec_of(tmp_path, encoder, "keep_best=3"), 20, 2, tmp_path / "not" / "yet")
    assert disk.peak == pytest.approx((3 + 2 + 2 * 6) * weights + disk.code, rel=0.01)
    assert disk.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    few = disk_of(spec_of(tmp_path, encoder), 2, 4, None)
    assert few.peak == pytest.approx((2 + 2 * 6) * weights + few.code, rel=0.01)


def test_each_running_trial_may_write_its_encoder_before_one_is_dropped(tmp_path: Path, encoder: Path) -> None:
    assert disk_of(spec_of(tmp_path, encoder, "keep_best=3"), 20, 4, None).encoders == 3 + 4
    assert disk_of(spec_of(tmp_path, encoder, "keep_best=3"), 6, 4, None).encoders == 6
    assert disk_of(spec_of(tmp_path, encoder, "keep_best=3"), 20, None, None).encoders == 20


def test_of_a_pareto_front_every_encoder_may_be_kept(tmp_path: Path, encoder: Path) -> None:
    spec = spec_of(tmp_path, encoder, "keep_best=3", "objective.against=size")
    assert disk_of(spec, 20, 4, None).encoders == 20


def test_the_code_is_that_of_the_four_packages(tmp_path: Path, encoder: Path) -> None:
    for package in ("sweep", "model", "evaluation", "search_spaces"):
        shutil.copytree(HOUSE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    copied = tree_bytes(tmp_path)
    assert disk_of(spec_of(tmp_path, encoder), 1, 1, None).code == pytest.approx(copied, rel=0.001)
    assert copied < upload_bytes() < 1.2 * copied


def test_without_the_encoder_or_the_slots_no_total_is_invented(tmp_path: Path, encoder: Path) -> None:
    assert disk_of(spec_of(tmp_path, encoder), 20, None, None).peak is None
    random = spec_of(tmp_path, tmp_path / "none", "encoder.weights=random")
    assert disk_of(random, 20, 2, None).encoder is None


def test_a_sweep_that_the_disk_cannot_hold_is_a_problem(tmp_path: Path, encoder: Path) -> None:
    many = shutil.disk_usage(tmp_path).free // (encoder / "model.safetensors").stat().st_size
    root = tmp_path / "sweeps"
    problem = disk_problem(disk_of(spec_of(tmp_path, encoder, f"keep_best={2 * many}"), 2 * many, 1, root), root)
    assert problem is not None and problem.key == "--root" and "keep_best" in problem.message
    assert disk_problem(disk_of(spec_of(tmp_path, encoder), 20, 1, root), root) is None


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (61_870_080, "62 MB"),
        (1_234_567_890, "1.2 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_bytes_are_said_in_decimal_units(count: float, said: str) -> None:
    assert said_bytes(count) == said
