"""An encoder as one ONNX file, tokens in and sentence vector out, and that file with int8 weights.

int8 is ONNX Runtime's dynamic quantisation of the linear layers, as in the paper (Table 9): one byte a weight, one
scale a column of the matrix, activations quantised as they come. The embedding tables, norms and biases stay fp32, so a
file has 4 bytes × (parameters − linear weights) + 1 byte × linear weights.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from model.encoder import Encoder, position_limit
from model.encoding import evaluating
from model.errors import InputError

INPUTS = ("input_ids", "attention_mask")
"""Both int64 [B, T]."""
OUTPUT = "sentence_embedding"
"""fp32 [B, W]."""
MAX_TOKENS_KEY, PAD_ID_KEY = "stsweep.max_tokens", "stsweep.pad_id"
"""Metadata of the file: what `OnnxEncoder` must know of the tokenizer and the positions."""
INT8_FILE = "model_int8.onnx"

_OPSET = 17  # the first with LayerNormalization as one operator
_QUANTISED = ["MatMul", "Gemm"]
_PROBES = ((1, 3), (3, 11))
"""Sentences × tokens at which the file is compared with the encoder; none is the shape that it was traced at."""
_TOLERANCE = 1e-3


def missing_packages() -> list[str]:
    """The packages of the extra `onnx` that are not installed."""
    return [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]


def export_onnx(encoder: Encoder, path: Path) -> None:
    """Write `encoder.forward` as an ONNX file for any number of sentences and tokens.

    Raises:
        InputError: a package is missing, or the file does not compute what the encoder does.
    """
    if missing := missing_packages():
        raise InputError(f"{' and '.join(missing)} not installed; pip install 'stsweep[onnx]'")
    axes = {name: {0: "sentences", 1: "tokens"} for name in INPUTS} | {OUTPUT: {0: "sentences"}}
    try:
        with evaluating(encoder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tracing is the older way, and freezes Python values: see below
            # dynamo=False: the newer exporter needs onnxscript and 5 to 14 s where this needs 0.3 to 1 s, and its int8
            # file was not faster. What tracing may freeze wrongly, a length or a branch, `_check_same` would see.
            torch.onnx.export(
                encoder,
                _example(encoder, sentences=2, tokens=7),
                path,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_axes=axes,
                opset_version=_OPSET,
                dynamo=False,
            )
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{type(encoder.transformer).__name__} cannot be written as ONNX: {reason}") from error
    _check_same(encoder, path)
    _annotate(path, {MAX_TOKENS_KEY: position_limit(encoder.transformer), PAD_ID_KEY: encoder.tokenizer.pad_token_id})


def save_int8(encoder: Encoder, folder: Path) -> Path:
    """Write `INT8_FILE` and the tokenizer into `folder`; `model.onnx_encoder.OnnxEncoder` reads them.

    Raises:
        InputError: as `export_onnx`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / INT8_FILE
    with TemporaryDirectory(dir=folder) as scratch:
        whole = Path(scratch) / "fp32.onnx"
        export_onnx(encoder, whole)
        _quantise(whole, path)
    encoder.tokenizer.save_pretrained(folder)
    return path


def _quantise(whole: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

    prepared = whole.with_name("prepared.onnx")
    quant_pre_process(whole, prepared, skip_symbolic_shape=True)
    quantize_dynamic(
        prepared,
        path,
        op_types_to_quantize=_QUANTISED,
        # One scale a column: all-MiniLM-L6-v2's vectors keep a cosine of 0.993 to fp32's; with one a matrix, 0.966.
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},  # attention's products of activations stay fp32
    )


def _check_same(encoder: Encoder, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for sentences, tokens in _PROBES:
        example = _example(encoder, sentences, tokens)
        with evaluating(encoder):
            expected = encoder(*example).cpu().numpy()
        inputs = {name: tensor.cpu().numpy() for name, tensor in zip(INPUTS, example, strict=True)}
        found = session.run([OUTPUT], inputs)[0]
        worst = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
        if not worst <= _TOLERANCE:
            raise InputError(
                f"{type(encoder.transformer).__name__} cannot be written as ONNX: the file's vectors differ from the "
                f"encoder's by {worst:.2g}, where {_TOLERANCE:g} is allowed"
            )


def _example(encoder: Encoder, sentences: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [sentences, tokens] of the encoder's vocabulary; the last of several sentences is padded."""
    device = next(encoder.parameters()).device
    ids = torch.arange(sentences * tokens).reshape(sentences, tokens) % encoder.transformer.config.vocab_size
    mask = torch.ones_like(ids)
    if sentences > 1:
        mask[-1, tokens // 2 :] = 0
    return ids.to(device), mask.to(device)


def _annotate(path: Path, about: dict[str, int]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    onnx.save(model, path)
