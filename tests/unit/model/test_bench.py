"""What is written and loaded in each precision, and what a meter says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bench import Meter, load_as, save_as
from model.config import EncoderConfig
from model.encoder import Encoder, load_encoder
from tests.tiny import tiny_encoder_folder

SENTENCES = ["A man plays the guitar.", "The dog runs in the snow.", "Two children sit."]
HEADER = 20_000
"""Bytes at most of a safetensors file that are no weights."""


@pytest.fixture(autouse=True)
def threads_stay() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["distilbert", "bert"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tiny_encoder_folder(tmp_path_factory.mktemp("encoder"), architecture=request.param)
    return load_encoder(EncoderConfig(name=str(folder), pooling="avg_last2"))


def count(encoder: Encoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize(("precision", "bytes_each"), [("fp32", 4), ("bf16", 2)])
def test_a_file_has_as_many_bytes_a_parameter_as_its_precision(
    encoder: Encoder, tmp_path: Path, precision, bytes_each: int
) -> None:
    size = save_as(encoder, precision, tmp_path)
    assert bytes_each * count(encoder) < size < bytes_each * count(encoder) + HEADER


def test_fp32_comes_back_as_it_was(encoder: Encoder, tmp_path: Path) -> None:
    save_as(encoder, "fp32", tmp_path)
    loaded = load_as(tmp_path, "fp32", threads=1)
    np.testing.assert_allclose(loaded.encode(SENTENCES), encoder.encode(SENTENCES), atol=1e-6)


def test_bf16_weights_give_nearly_the_same_fp32_vectors(encoder: Encoder, tmp_path: Path) -> None:
    save_as(encoder, "bf16", tmp_path)
    loaded = load_as(tmp_path, "bf16", threads=1)
    assert isinstance(loaded, Encoder)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert count(loaded) == count(encoder), "BERT's unused pooler is back"
    assert not any(module.training for module in loaded.modules())
    vectors, expected = loaded.encode(SENTENCES), encoder.encode(SENTENCES)
    assert vectors.dtype == np.float32
    # bf16 keeps 8 bits: a rounding error of 0.4 % a number
    assert np.linalg.norm(vectors - expected, axis=1).max() < 0.05 * np.linalg.norm(expected, axis=1).min()


def test_writing_bf16_leaves_the_encoder_in_fp32(encoder: Encoder, tmp_path: Path) -> None:
    save_as(encoder, "bf16", tmp_path)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_a_meter_measures_a_pass_single_sentences_and_memory(encoder: Encoder, tmp_path: Path) -> None:
    save_as(encoder, "fp32", tmp_path)
    meter = Meter(tmp_path, "fp32", threads=1)
    assert meter.device in ("cpu", "cuda")
    assert torch.get_num_threads() == 1
    assert meter.pass_seconds(SENTENCES) > 0
    assert len(meter.single_ms(SENTENCES)) == len(SENTENCES)
    memory = meter.memory()
    assert 0 <= memory.encoder < memory.process
    weights = 4 * count(encoder)
    assert memory.process > weights


def test_a_call_is_timed_in_its_own_unit(encoder: Encoder, tmp_path: Path) -> None:
    save_as(encoder, "fp32", tmp_path)
    meter = Meter(tmp_path, "fp32", threads=1)
    meter.pass_seconds(SENTENCES)
    singles = meter.single_ms(["dog"] * 20)
    seconds = [meter.pass_seconds(["dog"]) for _ in range(20)]
    assert 0.1 < np.median(singles) / (1000 * np.median(seconds)) < 10
