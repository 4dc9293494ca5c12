"""How large, how fast and how hungry an encoder is in one precision. Memory is this process's: a fresh one a precision.

fp32 and bf16 are the weights' own format, not autocast: half the file and half the memory is what bf16 is deployed for.
int8 is `model.onnx_export`; it runs on the processor, wherever the others run.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from model.device import choose_device
from model.encoder import Encoder, load_encoder, save_encoder, saved_config
from model.memory import Memory, forget_peak, peak_bytes, resident_bytes
from model.onnx_encoder import OnnxEncoder
from model.onnx_export import INT8_FILE, save_int8
from model.source import declared

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Encodes(Protocol):
    """`Encoder` or `OnnxEncoder`."""

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]: ...


def save_as(encoder: Encoder, precision: Precision, folder: Path) -> int:
    """Write an encoder's weights in one precision, for `load_as`; `encoder` stays as it is.

    Args:
        encoder: fp32.
        folder: new or empty.

    Returns:
        Bytes of the weights' file; configuration and tokenizer are not counted.

    Raises:
        InputError: int8 without the packages of the extra `onnx`, or of an architecture that ONNX cannot hold.
    """
    if precision == "int8":
        return save_int8(encoder, folder).stat().st_size
    if precision == "bf16":
        halved = copy.deepcopy(encoder.transformer).to(torch.bfloat16)
        encoder = Encoder(halved, encoder.tokenizer, encoder.pooling, encoder.max_length)
    save_encoder(encoder, folder)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def load_as(
    folder: Path, precision: Precision, threads: int, *, trust_remote_code: bool = False
) -> Encoder | OnnxEncoder:
    """What `save_as` wrote, on the GPU when there is one (int8: on the processor), its weights in that precision."""
    if precision == "int8":
        return OnnxEncoder(folder / INT8_FILE, threads)
    if precision == "fp32":
        encoder = load_encoder(saved_config(folder), trust_remote_code=trust_remote_code)
    else:
        encoder = _load_bf16(folder, trust_remote_code)
    return encoder.to(choose_device(None))


def _load_bf16(folder: Path, trust_remote_code: bool) -> Encoder:
    """Never in fp32 on the way, which would be the peak of the memory."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformer = AutoModel.from_pretrained(
        folder, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=trust_remote_code
    )
    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = None
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    about = declared(folder)
    return Encoder(transformer, tokenizer, about["pooling"], about["max_length"]).eval()


def _import_libraries(folder: Path, precision: Precision, trust_remote_code: bool) -> None:
    """What loading would import, so that its memory (100 MB) is not counted as the encoder's."""
    if precision == "int8":
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
    else:
        from transformers import AutoConfig, AutoModel

        with torch.device("meta"):
            build: Any = AutoModel
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            build.from_config(settings, trust_remote_code=trust_remote_code)


class Meter:
    """An encoder loaded in this process, and what is measured on it.

    Attributes:
        encoder: ready to encode.
        device: `cpu` or `cuda`, where it runs.
    """

    def __init__(self, folder: Path, precision: Precision, threads: int, *, trust_remote_code: bool = False) -> None:
        """Load what `save_as` wrote and begin to watch the memory.

        Args:
            threads: that torch, or ONNX Runtime, computes with.
            trust_remote_code: as `model.encoder.load_encoder`.
        """
        torch.set_num_threads(threads)
        _import_libraries(folder, precision, trust_remote_code)
        self.device = "cpu" if precision == "int8" else choose_device(None).type
        self._before = resident_bytes()
        forget_peak()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.encoder: Encodes = load_as(folder, precision, threads, trust_remote_code=trust_remote_code)

    def pass_seconds(self, sentences: Sequence[str]) -> float:
        """Seconds to encode all sentences in one call, tokenisation included."""
        self._synchronise()
        start = perf_counter()
        self.encoder.encode(sentences)
        self._synchronise()
        return perf_counter() - start

    def single_ms(self, sentences: Sequence[str]) -> list[float]:
        """Milliseconds of each sentence in a call of its own, tokenisation included."""
        return [1000 * self.pass_seconds([sentence]) for sentence in sentences]

    def memory(self) -> Memory:
        """The peak since `__init__` began."""
        process = peak_bytes()
        on_gpu = self.device == "cuda"
        return Memory(torch.cuda.max_memory_allocated() if on_gpu else process - self._before, process)

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
