"""A teacher's embeddings of the whole corpus: computed once, memory-mapped by every trial of a machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.cache import build_once, cache_dir
from model.config import EncoderConfig, TrainConfig
from model.corpus import corpus_identity, read_corpus
from model.device import choose_device
from model.encoder import load_encoder
from model.errors import InputError
from model.source import identity

_BLOCK_SENTENCES = 16_384
"""Encoded at once: many enough to sort well by length, few enough to hold in memory."""


def teacher_embeddings(
    config: TrainConfig, *, threads: int | None = None, device: str | None = None, trust_remote_code: bool = False
) -> NDArray[np.float32]:
    """The teacher's embeddings [sentences of the corpus, width], fp32, read-only and memory-mapped.

    Sentences are not cut to `encoder.max_length`: the teacher sees what evaluation will see. Computed in fp32 whatever
    the student's precision, so that machines with and without bf16 share one result.

    Args:
        config: `data.corpus` and `teacher` are read.
        threads: processor threads of this process from now on; None leaves them.
        device: as `model.device.choose_device`.
        trust_remote_code: as `model.encoder.load_encoder`; embeddings that are there already need no code.

    Raises:
        InputError: there is no teacher, or it, the corpus or the cache folder cannot be used.
    """
    teacher = config.teacher
    if teacher.name is None:
        raise InputError("teacher.name is not given; name a Hub id, a local folder or package:NAME")
    name, paths = teacher.name, config.data.corpus
    described = json.dumps([1, corpus_identity(paths), identity(name), teacher.pooling])
    key = hashlib.sha256(described.encode()).hexdigest()

    def write(path: Path) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        settings = EncoderConfig(name=name, pooling=teacher.pooling)
        encoder = load_encoder(settings, trust_remote_code=trust_remote_code).to(choose_device(device))
        sentences = read_corpus(paths)
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": (len(sentences), encoder.width)}
            )
            for start in range(0, len(sentences), _BLOCK_SENTENCES):
                file.write(encoder.encode(sentences[start : start + _BLOCK_SENTENCES]).astype("<f4").tobytes())

    built = build_once(cache_dir() / "teachers" / f"{key}.npy", write)
    try:
        embeddings: NDArray[np.float32] = np.load(built, mmap_mode="r")
    except ValueError as error:
        raise InputError(f"{built} is damaged ({error}); delete it, it is then built again: rm '{built}'") from error
    return embeddings
