"""From tokens to vectors, fast: batches by a token budget, sorted by length, several poolings from one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.batches import pad
from model.packed_linear import packed_linear_layers

if TYPE_CHECKING:
    from model.encoder import Encoder

BATCH_TOKENS = {"cpu": 1024, "cuda": 16_384}
"""Tokens a batch, padding included. On processors larger batches fall out of the cache (8,192: a third slower on two
cores); for GPUs the figure is a guess, not measured."""
PACKED_FROM_TOKENS = 4096
"""Tokens from which it pays to pack weights: that takes as long as it saves on about half as many."""
_ONE_AT_A_TIME = Lock()
"""Mode, packed layers and the number of threads are changed while one call encodes; a second one waits."""


class Tokens(Protocol):
    """Token ids of sentences: `model.tokens.TokenisedSentences`, or what a tokenizer returned."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each sentence [n]."""
        ...

    def ids(self, sentence: int) -> NDArray[np.int32]:
        """Token ids of one sentence, special tokens included."""
        ...


class ListedTokens:
    """Token ids in a list."""

    def __init__(self, ids: Sequence[NDArray[np.int32]]) -> None:
        self._ids = ids

    @property
    def lengths(self) -> NDArray[np.int32]:
        return np.fromiter(map(len, self._ids), dtype=np.int32, count=len(self._ids))

    def ids(self, sentence: int) -> NDArray[np.int32]:
        return self._ids[sentence]


def encode_tokens(
    encoder: Encoder,
    tokens: Tokens,
    poolings: Mapping[str, int],
    *,
    batch_tokens: int | None,
    precision: Literal["fp32", "bf16"],
) -> dict[str, NDArray[np.float32]]:
    """One matrix [n, width] a pooling, rows in the order of the sentences. Weights, mode and randomness stay.

    Args:
        encoder: the transformer and its pooling functions.
        tokens: n sentences.
        poolings: name → width of its vectors.
        batch_tokens: tokens a batch, padding included; None: `BATCH_TOKENS` of the device.
        precision: `bf16` runs under autocast; the vectors are fp32 all the same.
    """
    device = next(encoder.parameters()).device
    lengths = tokens.lengths
    budget = batch_tokens or BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"])
    found = {name: np.zeros((len(lengths), width), dtype=np.float32) for name, width in poolings.items()}
    pad_id = encoder.tokenizer.pad_token_id or 0

    def encode(rows: NDArray[np.int64]) -> None:
        # Both modes are a thread's own, and this may be another than `evaluating`'s.
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            ids, mask = pad([tokens.ids(row) for row in rows.tolist()], pad_id)
            for name, vectors in encoder.pool_each(list(poolings), ids.to(device), mask.to(device)).items():
                found[name][rows] = vectors.float().cpu().numpy()

    pays = precision == "fp32" and lengths.sum() >= PACKED_FROM_TOKENS
    with _ONE_AT_A_TIME, evaluating(encoder), packed_linear_layers(encoder) if pays else nullcontext():
        _each(encode, list(batches(lengths, budget)), torch.get_num_threads() if device.type == "cpu" else 1)
    return found


def _each(encode: Callable[[NDArray[np.int64]], None], parts: Sequence[NDArray[np.int64]], threads: int) -> None:
    """Encode every part: each by one thread, if there are parts enough, for threads that share a part wait at the end
    of every layer (a tenth of the time with two)."""
    if threads == 1 or len(parts) < 2 * threads:
        for rows in parts:
            encode(rows)
        return
    pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))
    try:
        for _ in pool.map(encode, parts):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # new threads of this process take over what was set last


def batches(lengths: NDArray[np.int32], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Rows by falling length, so many at once that rows × longest row stay within `batch_tokens`, at least one."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + count]
        start += count


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each part's own mode is put back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True
