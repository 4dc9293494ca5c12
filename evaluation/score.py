"""Scoring an encoder on STS: each distinct sentence encoded once, cosine, correlation with the golds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputError
from evaluation.pairs import Pairs
from evaluation.protocol import Encoder
from evaluation.spearman import cosine, pearson, spearman, unit_rows

COLLAPSED_SPREAD = 1e-9
"""Similarities closer together than this are equal. A cosine moves by half the square of an embedding's relative
change, so that this is a change of 4e-5: more than float32 rounding makes, less than any difference of meaning."""


@dataclass(frozen=True)
class Score:
    """The correlations of one encoder on one split, × 100, or the name of the reason why there are none."""

    task: str
    split: str
    pairs: int
    """Number of scored pairs."""
    spearman: float | None
    """Over all subsets as one list of pairs: "all" in SimCSE's SentEval."""
    pearson: float | None
    failure: Literal["collapsed", "diverged"] | None
    """`diverged`: an embedding is not finite. `collapsed`: every similarity is the same."""


def score(encoder: Encoder, pairs: Sequence[Pairs]) -> list[Score]:
    """Score `encoder` on each of `pairs`, in order; every distinct sentence of all of them is encoded once.

    Raises:
        InputError: the encoder returned something other than one row a sentence.
    """
    if not pairs:
        return []
    sentences = list(dict.fromkeys(text for part in pairs for side in (part.first, part.second) for text in side))
    embeddings = np.asarray(encoder.encode(sentences))
    if embeddings.ndim != 2 or len(embeddings) != len(sentences):
        raise InputError(
            f"{type(encoder).__name__}.encode returned shape {list(embeddings.shape)} for {len(sentences)} sentences; "
            f"allowed is [{len(sentences)}, width]"
        )
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(embeddings).all(axis=1))
    units = unit_rows(np.where(finite[:, None], embeddings, 0.0))
    row = {text: index for index, text in enumerate(sentences)}
    return [_score_one(part, row, units, finite) for part in pairs]


def _score_one(pairs: Pairs, row: dict[str, int], units: NDArray[np.float64], finite: NDArray[np.bool_]) -> Score:
    first = [row[text] for text in pairs.first]
    second = [row[text] for text in pairs.second]
    if not (finite[first].all() and finite[second].all()):
        return Score(pairs.task, pairs.split, len(pairs), None, None, "diverged")
    similarity = cosine(units[first], units[second])
    if np.ptp(similarity) <= COLLAPSED_SPREAD:
        return Score(pairs.task, pairs.split, len(pairs), None, None, "collapsed")
    return Score(
        pairs.task, pairs.split, len(pairs), spearman(similarity, pairs.gold), pearson(similarity, pairs.gold), None
    )
