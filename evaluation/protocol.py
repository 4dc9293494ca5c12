"""What a scorer asks of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputError


class Encoder(Protocol):
    """Anything that turns sentences into vectors: `model`'s encoder, the lexical floor, a SentenceTransformer."""

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Sentences → [n, width], one row a sentence, in the order given."""
        ...


EncodeFunction = Callable[[Sequence[str]], Any]
"""A plain function serves as well: sentences → an array, or what `numpy.asarray` makes one of."""


def embed(encoder: Encoder | EncodeFunction, sentences: Sequence[str]) -> NDArray[np.floating]:
    """Embeddings [n, width] of sentences, in their own precision (fp32 or more), checked.

    Raises:
        InputError: it is no encoder, or it returned something other than one row of numbers a sentence.
    """
    encode = getattr(encoder, "encode", encoder)
    if not callable(encode) or isinstance(encoder, str):  # a text, such as a model's name, has an `encode` of its own
        raise InputError(
            f"a {type(encoder).__name__} is no encoder: give an object with encode(sentences), or a function of them"
        )
    rows = np.asarray(encode(list(sentences)))
    name = getattr(encoder, "__name__", type(encoder).__name__)
    if rows.ndim != 2 or len(rows) != len(sentences) or rows.shape[1] == 0 or rows.dtype.kind not in "fiu":
        raise InputError(
            f"{name} returned shape {list(rows.shape)} of {rows.dtype} for {len(sentences)} sentences; "
            f"allowed is [{len(sentences)}, width] of numbers"
        )
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float32)
