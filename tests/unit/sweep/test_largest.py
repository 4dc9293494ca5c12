"""Which configuration of a space is the largest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.largest import largest_config, smallest_batch
from tests.tiny import tiny_encoder_folder
from tests.unit.sweep.specs import load


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    tiny_encoder_folder(folder / "small", layers=2)
    tiny_encoder_folder(folder / "large", layers=6)
    return folder


def largest(folder: Path, encoders: Path, search: str, *changes: str, more: str = "trials: 4") -> dict[str, object]:
    text = (
        f"name: s\nobjective: {{task: demo}}\n{more}\n"
        f"train: {{encoder: {{name: {encoders}/large}}, optim: {{batch_size: 8}}, budget: {{sentences: 640}}}}\n"
    )
    return largest_config(load(folder, f"{text}search: {search}\n", *changes)).flatten()


def test_every_size_is_at_its_most(tmp_path: Path, encoders: Path) -> None:
    found = largest(
        tmp_path,
        encoders,
        f"{{encoder.name: {{choices: [{encoders}/large, {encoders}/small]}}, "
        "encoder.max_length: {low: 8, high: 64}, optim.batch_size: {low: 8, high: 128, step: 8}, "
        "loss.contrastive_weight: {choices: [0.5, 0.0]}, encoder.pooling: {choices: [cls, concat_last4, max_last4]}, "
        "precision: {choices: [bf16, fp32]}, optim.learning_rate: {low: 1e-5, high: 1e-1}}",
        "loss.distillation_weight=1",
        "loss.distillation=similarity",
        f"teacher.name={encoders}/large",
    )
    assert found["encoder.name"] == f"{encoders}/large"
    assert (found["encoder.max_length"], found["optim.batch_size"], found["precision"]) == (64, 128, "fp32")
    assert (found["loss.contrastive_weight"], found["encoder.pooling"]) == (0.5, "concat_last4")
    assert found["optim.learning_rate"] == 5e-5, "what decides no size is left as it is"


def test_all_layers_are_more_than_some(tmp_path: Path, encoders: Path) -> None:
    search = "{encoder.keep_layers: {choices: [[0, 1, 2, 3], null, [5]]}}"
    assert largest(tmp_path, encoders, search)["encoder.keep_layers"] is None
    search = "{encoder.keep_layers: {choices: [[0], [1, 2, 3], [4, 5]]}}"
    assert largest(tmp_path, encoders, search)["encoder.keep_layers"] == "1,2,3"


def test_what_cannot_run_is_not_the_largest(tmp_path: Path, encoders: Path) -> None:
    search = (
        f"{{encoder.name: {{choices: [{encoders}/small, {encoders}/large]}}, encoder.pooling: "
        "{choices: [concat_last4, cls]}, optim.batch_size: {low: 8, high: 64, when: {encoder.pooling: concat_last4}}}"
    )
    found = largest(tmp_path, encoders, search)
    assert (found["encoder.name"], found["encoder.pooling"]) == (f"{encoders}/large", "concat_last4")
    found = largest(tmp_path, encoders, search, f"encoder.name={encoders}/small", "trials=2")
    assert (found["encoder.pooling"], found["optim.batch_size"]) == ("cls", 8), "two layers have no last four"


def test_a_knob_is_large_only_where_it_is_asked(tmp_path: Path, encoders: Path) -> None:
    search = (
        "{encoder.max_length: {choices: [64, 16]}, "
        "optim.batch_size: {low: 8, high: 64, step: 8, when: {encoder.max_length: 16}}}"
    )
    found = largest(tmp_path, encoders, search)
    assert (found["encoder.max_length"], found["optim.batch_size"]) == (16, 64)
    found = largest(tmp_path, encoders, search.replace("high: 64", "high: 16"))
    assert (found["encoder.max_length"], found["optim.batch_size"]) == (64, 8)


def test_the_smallest_batch_is_the_least_that_a_trial_may_have(tmp_path: Path) -> None:
    text = "name: s\nobjective: {task: demo}\ntrials: 4\ntrain: {optim: {batch_size: 8}}\n"
    assert smallest_batch(load(tmp_path, text)) == 8
    assert smallest_batch(load(tmp_path, f"{text}search: {{optim.batch_size: {{low: 16, high: 64}}}}\n")) == 16
    assert smallest_batch(load(tmp_path, f"{text}search: {{optim.batch_size: {{choices: [64, 32]}}}}\n")) == 32
    search = "{precision: {choices: [fp32, bf16]}, optim.batch_size: {choices: [64, 32], when: {precision: bf16}}}"
    assert smallest_batch(load(tmp_path, f"{text}search: {search}\n")) == 8, "where it is not asked it is as in train"


def test_of_a_grid_it_is_one_of_its_points(tmp_path: Path, encoders: Path) -> None:
    search = "[{optim.batch_size: {choices: [8, 16]}}, {encoder.max_length: {choices: [32, 48]}}]"
    found = largest(tmp_path, encoders, search, more="sampler: {name: grid}")
    assert (found["encoder.max_length"], found["optim.batch_size"]) == (32, 16)
