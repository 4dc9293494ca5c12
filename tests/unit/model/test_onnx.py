"""The ONNX file computes what the encoder computes; int8 shrinks the linear layers and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from model.config import EncoderConfig, PoolingName
from model.encoder import Encoder, load_encoder
from model.errors import InputError
from tests.tiny import POSITIONS, tiny_encoder_folder

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

from model.onnx_encoder import OnnxEncoder  # noqa: E402
from model.onnx_export import INT8_FILE, export_onnx, save_int8  # noqa: E402

SENTENCES = [
    "A man plays the guitar.",
    "The dog runs.",
    "",
    "Two people walk slowly with a red bird in the snow, and they talk to a woman and a child!",
    "snow",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {
        "distilbert": tiny_encoder_folder(root / "distilbert", architecture="distilbert"),
        "bert": tiny_encoder_folder(root / "bert", architecture="bert"),
    }


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Path]:
    """An encoder of 2.2 million parameters, so that weights outweigh the graph, and its int8 folder."""
    folder = tiny_encoder_folder(tmp_path_factory.mktemp("wide"), layers=4, width=256)
    encoder = load(folder)
    return encoder, save_int8(encoder, tmp_path_factory.mktemp("int8"))


def load(folder: Path, pooling: str = "avg_last4") -> Encoder:
    return load_encoder(EncoderConfig.model_validate({"name": str(folder), "pooling": pooling}))


def export(encoder: Encoder, folder: Path) -> Path:
    export_onnx(encoder, folder / "model.onnx")
    encoder.tokenizer.save_pretrained(folder)
    return folder / "model.onnx"


def linear_weights(encoder: Encoder) -> int:
    return sum(layer.weight.numel() for layer in encoder.modules() if isinstance(layer, nn.Linear))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [*(("distilbert", name) for name in get_args(PoolingName)), ("bert", "avg_first_last"), ("bert", "concat_last4")],
)
def test_the_file_gives_the_encoders_vectors(
    folders: dict[str, Path], tmp_path: Path, architecture: str, pooling: str
) -> None:
    encoder = load(folders[architecture], pooling)
    found = OnnxEncoder(export(encoder, tmp_path), threads=1)
    assert found.width == encoder.width
    np.testing.assert_allclose(found.encode(SENTENCES), encoder.encode(SENTENCES), atol=1e-4)


def test_no_sentence_gives_no_vector(wide: tuple[Encoder, Path]) -> None:
    assert OnnxEncoder(wide[1], threads=1).encode([]).shape == (0, 256)


def test_a_sentence_beyond_the_positions_is_cut_as_the_encoder_cuts_it(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = load(folders["distilbert"])
    long = " ".join(["dog", "runs", "house"] * POSITIONS)
    found = OnnxEncoder(export(encoder, tmp_path), threads=1)
    np.testing.assert_allclose(found.encode([long, "dog"]), encoder.encode([long, "dog"]), atol=1e-4)


def test_an_int8_file_holds_every_linear_weight_in_one_byte_and_no_other(wide: tuple[Encoder, Path]) -> None:
    encoder, path = wide
    stored = {onnx.TensorProto.INT8: 0, onnx.TensorProto.FLOAT: 0}
    for tensor in onnx.load(path).graph.initializer:
        if len(tensor.dims) == 2 and tensor.data_type in stored:
            stored[tensor.data_type] += int(np.prod(tensor.dims))
    assert stored[onnx.TensorProto.INT8] == linear_weights(encoder)
    embeddings = sum(layer.weight.numel() for layer in encoder.modules() if isinstance(layer, nn.Embedding))
    assert stored[onnx.TensorProto.FLOAT] == embeddings


def test_the_size_of_an_int8_file_follows_from_the_parameter_counts(wide: tuple[Encoder, Path]) -> None:
    """As the paper's 138.1 MB for DistilBERT: four bytes a parameter, one a linear weight; the graph comes on top."""
    encoder, path = wide
    linear = linear_weights(encoder)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    predicted = 4 * (parameters - linear) + linear
    assert predicted < path.stat().st_size < 1.07 * predicted


def test_int8_vectors_stay_close_to_fp32s(wide: tuple[Encoder, Path]) -> None:
    encoder, path = wide
    int8 = OnnxEncoder(path, threads=1).encode(SENTENCES)
    fp32 = encoder.encode(SENTENCES)
    assert cosines(int8, fp32).min() > 0.95
    assert np.abs(int8 - fp32).max() > 1e-5, "these are fp32's own vectors"


def test_only_the_int8_file_and_the_tokenizer_are_left(wide: tuple[Encoder, Path]) -> None:
    assert sorted(file.name for file in wide[1].parent.iterdir()) == [
        INT8_FILE,
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_exporting_leaves_mode_and_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = load(folders["distilbert"]).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    export(encoder, tmp_path)
    assert all(module.training for module in encoder.modules())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_file_that_would_compute_something_else_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    class CountsTokens(Encoder):
        """Tracing freezes the count that it saw."""

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return super().forward(input_ids, attention_mask) * int(attention_mask.sum())

    plain = load(folders["distilbert"])
    encoder = CountsTokens(plain.transformer, plain.tokenizer, plain.pooling, plain.max_length)
    with pytest.raises(InputError, match="DistilBertModel cannot be written as ONNX: the file's vectors differ"):
        export_onnx(encoder, tmp_path / "model.onnx")


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.onnx_export.missing_packages", lambda: ["onnxruntime"])
    with pytest.raises(InputError, match=r"onnxruntime not installed; pip install 'stsweep\[onnx\]'"):
        save_int8(load(folders["distilbert"]), tmp_path)


def test_a_file_without_its_tokenizer_is_refused(wide: tuple[Encoder, Path], tmp_path: Path) -> None:
    (tmp_path / INT8_FILE).write_bytes(wide[1].read_bytes())
    with pytest.raises(InputError, match=r"no such file: \S*tokenizer\.json"):
        OnnxEncoder(tmp_path / INT8_FILE)


def test_an_onnx_file_of_another_program_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    path = export(load(folders["distilbert"]), tmp_path)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"model\.onnx was not written by stsweep"):
        OnnxEncoder(path)
