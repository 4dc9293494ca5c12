"""The size of an encoder's weights, told from its files, is what torch counts after loading them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from model.config import EncoderConfig
from model.encoder import load_encoder
from model.weights import weight_bytes
from tests.tiny import tiny_encoder_folder, tiny_tokenizer


def loaded_bytes(folder: Path, keep_layers: tuple[int, ...] | None = None) -> int:
    encoder = load_encoder(EncoderConfig(name=str(folder), keep_layers=keep_layers))
    return sum(4 * parameter.numel() for parameter in encoder.parameters())


def bert(folder: Path, kind: type, **saving: object) -> Path:
    config = BertConfig(
        vocab_size=200, num_hidden_layers=2, hidden_size=16, num_attention_heads=4, intermediate_size=32
    )
    model = kind(config)
    model.to(saving.pop("dtype", torch.float32)).save_pretrained(folder, **saving)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", ["distilbert", "bert"])
@pytest.mark.parametrize("keep", [None, (0,), (1, -1)])
def test_layers_that_are_left_out_are_not_counted(
    tmp_path: Path, architecture: str, keep: tuple[int, ...] | None
) -> None:
    folder = tiny_encoder_folder(tmp_path / "encoder", architecture=architecture, layers=4)  # type: ignore[arg-type]
    assert weight_bytes(str(folder), keep) == loaded_bytes(folder, keep)


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_poolers_and_heads_of_other_tasks_are_not_counted(tmp_path: Path, kind: type) -> None:
    folder = bert(tmp_path / "encoder", kind)
    assert weight_bytes(str(folder)) == loaded_bytes(folder)


def test_half_precision_files_become_fp32_in_memory(tmp_path: Path) -> None:
    folder = bert(tmp_path / "encoder", BertModel, dtype=torch.bfloat16)
    assert weight_bytes(str(folder)) == loaded_bytes(folder)


def test_several_files_are_counted_together(tmp_path: Path) -> None:
    folder = bert(tmp_path / "encoder", BertModel, max_shard_size="10KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert weight_bytes(str(folder)) == loaded_bytes(folder)


def test_what_is_not_here_or_damaged_has_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tiny_encoder_folder(tmp_path / "encoder", layers=1)
    (folder / "model.safetensors").write_bytes(b"cut")
    assert weight_bytes(str(folder)) is None
    assert weight_bytes(str(tmp_path / "none")) is None
    assert weight_bytes("some/model") is None
