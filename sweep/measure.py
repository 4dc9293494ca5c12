"""What a trial measures of its encoder: the score, and at the end its size or its latency if the objective asks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from sweep.trial_record import FLOOR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluation.pairs import Pairs
    from model.encoder import Encoder
    from model.ranks import Ranks

WHY = {
    "collapsed": "all sentences have the same embedding, or all pairs the same similarity: there is no correlation",
    "diverged": "an embedding is not finite",
}
"""Failure that an evaluation finds → its reason in words."""
_CALLS = 100
"""Sentences encoded alone for the latency."""
_WARM_UP = 10
"""More of them, before the clock runs."""


@dataclass(frozen=True)
class Measured:
    """What one evaluation found; the fields are those of `sweep.trial_record.Row`."""

    score: float
    failure: str | None
    score_precision: str | None = None
    alignment: float | None = None
    uniformity: float | None = None
    spread: float | None = None
    poolings: dict[str, float | None] | None = None


def measure(
    encoder: Encoder,
    pairs: Pairs,
    metric: str,
    precision: Literal["fp32", "bf16"],
    *,
    every_pooling: bool,
    ranks: Ranks | None = None,
) -> Measured:
    """Score an encoder on sentence pairs; `FLOOR` and the failure where there is no score.

    Of several ranks each encodes a share of the sentences, and all find the same. None: this process alone.
    """
    from evaluation.score import distinct_sentences, score_embeddings
    from model.pooling import fitting_poolings

    sentences = distinct_sentences([pairs])
    others = fitting_poolings(encoder.transformer.config.num_hidden_layers) if every_pooling else []
    names = list(dict.fromkeys([encoder.pooling, *others]))
    embeddings = _embed(encoder, names, sentences, precision, ranks)
    scores = {name: score_embeddings(embeddings[name], sentences, [pairs], precision)[0] for name in names}
    own = scores[encoder.pooling]
    value: float | None = getattr(own, metric)
    return Measured(
        score=FLOOR if value is None else value,
        failure=own.failure,
        score_precision=precision,
        alignment=own.alignment,
        uniformity=own.uniformity,
        spread=own.spread,
        poolings={name: getattr(score, metric) for name, score in scores.items()} if every_pooling else None,
    )


def _embed(
    encoder: Encoder,
    names: Sequence[str],
    sentences: Sequence[str],
    precision: Literal["fp32", "bf16"],
    ranks: Ranks | None,
) -> Mapping[str, NDArray[np.float32]]:
    """Pooling → embeddings [n, its width], on every rank."""
    import numpy as np

    from model.pooling import pooled_width
    from model.sharding import ShardedEncoder

    if ranks is None or not ranks.are_several:
        return encoder.encode_each(names, sentences, precision=precision, cache_tokens=True)

    class SideBySide:
        def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
            each = encoder.encode_each(names, sentences, precision=precision, cache_tokens=True)
            return np.concatenate([each[name] for name in names], axis=1)

    rows = ShardedEncoder(SideBySide(), ranks.group).encode(sentences)
    ends = np.cumsum([pooled_width(name, encoder.transformer.config.hidden_size) for name in names])
    return dict(zip(names, np.split(rows, ends[:-1], axis=1), strict=True))


def size_mb(encoder: Encoder) -> float:
    """Megabytes (10⁶ bytes) of the parameters in fp32."""
    return sum(4 * parameter.numel() for parameter in encoder.parameters()) / 1e6


def latency_ms(encoder: Encoder, sentences: Sequence[str]) -> float:
    """Milliseconds to encode one sentence alone, the median, tokenisation included, as `stsweep bench` counts it.

    Measured on the encoder in memory: another copy might not fit beside the optimiser.
    """
    some = [sentences[n % len(sentences)] for n in range(_WARM_UP + _CALLS)]
    took = []
    for sentence in some:
        start = time.perf_counter()
        encoder.encode([sentence])  # ends with the vectors in main memory, so a GPU has finished
        took.append(time.perf_counter() - start)
    return 1000 * median(took[_WARM_UP:])
