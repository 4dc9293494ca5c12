"""Views: how the second half of a positive pair differs from the first, on token ids; dropout comes on top.

Whole words are lost, never parts of one, and special tokens stay. Randomness comes in as a generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

View = Callable[[int, float, np.random.Generator], Sequence[int]]
"""(words n ≥ 1, rate, generator) → the words kept, at least one, in order."""


def _keep_all(words: int, rate: float, rng: np.random.Generator) -> Sequence[int]:
    return range(words)


def _delete_words(words: int, rate: float, rng: np.random.Generator) -> Sequence[int]:
    """Each word is lost with probability `rate` (word deletion of ConSERT and CLEAR, arXiv 2012.15466)."""
    kept = np.flatnonzero(rng.random(words) >= rate)
    return kept.tolist() if len(kept) else [int(rng.integers(words))]


def _crop_span(words: int, rate: float, rng: np.random.Generator) -> Sequence[int]:
    """A run of neighbouring words stays, a share of 1 − `rate` of them (span crop of Contriever, arXiv 2112.09118)."""
    length = max(1, round(words * (1 - rate)))
    start = int(rng.integers(words - length + 1))
    return range(start, start + length)


VIEWS: dict[str, View] = {"dropout": _keep_all, "word_deletion": _delete_words, "span_crop": _crop_span}
"""`views.kind` → which words are kept."""


def make_view(kind: str, ids: Sequence[int], words: Sequence[int], rate: float, rng: np.random.Generator) -> list[int]:
    """The token ids of a view.

    Args:
        kind: one of `VIEWS`.
        ids: token ids [T] of a sentence.
        words: the word each token belongs to [T], counted from 0 without gaps; −1 for special tokens.
        rate: share of words to lose, in [0, 1).
        rng: drawn from only by views that need it.

    Returns:
        The kept token ids, in order; all special tokens and at least one word, if there is one.
    """
    count = max(words, default=-1) + 1
    if count == 0:
        return list(ids)
    kept = set(VIEWS[kind](count, rate, rng))
    return [token for token, word in zip(ids, words, strict=True) if word < 0 or word in kept]
