"""Scoring an encoder on STS: each distinct sentence encoded once, cosine, correlation with the golds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.geometry import alignment, spread, uniformity, unit_rows
from evaluation.pairs import Pairs
from evaluation.protocol import EncodeFunction, Encoder, embed
from evaluation.spearman import cosine, pearson, spearman

Precision = Literal["fp32", "bf16"]
COLLAPSED_BELOW: dict[Precision, float] = {"fp32": 8 * 2.0**-23, "bf16": 8 * 2.0**-16}
"""Similarities closer together than this differ by rounding alone: eight steps of an fp32 quotient; of vectors that
were computed in bf16, eight times the square of their relative error, 2⁻⁸."""


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
    spearman_mean: float | None = None
    """Mean over the subsets; None also where a subset has no correlation."""
    spearman_wmean: float | None = None
    """The same, weighted by their pairs."""
    pearson_mean: float | None = None
    pearson_wmean: float | None = None
    alignment: float | None = None
    """As `evaluation.geometry` defines these three, over the split's distinct sentences; None when diverged."""
    uniformity: float | None = None
    spread: float | None = None
    similarity: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    """[pairs], the cosines; None where there is no score."""

    @property
    def name(self) -> str:
        """Task and split."""
        return f"{self.task} {self.split}"

    def to_json(self) -> dict[str, Any]:
        """Every field but the similarities."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "similarity"}


def distinct_sentences(pairs: Sequence[Pairs]) -> list[str]:
    """Every sentence of `pairs` once, in order of appearance."""
    return list(dict.fromkeys(text for part in pairs for side in (part.first, part.second) for text in side))


def score(encoder: Encoder | EncodeFunction, pairs: Sequence[Pairs]) -> list[Score]:
    """Score `encoder` on each of `pairs`, in order; every distinct sentence of all of them is encoded once.

    Args:
        encoder: an object with `encode(sentences)`, such as a SentenceTransformer, or a function of sentences.
        pairs: from `evaluation.tasks.load_pairs`.

    Raises:
        InputError: the encoder returned something other than one row a sentence.
    """
    if not pairs:
        return []
    sentences = distinct_sentences(pairs)
    return score_embeddings(embed(encoder, sentences), sentences, pairs)


def score_embeddings(
    embeddings: NDArray[np.floating], sentences: Sequence[str], pairs: Sequence[Pairs], precision: Precision = "fp32"
) -> list[Score]:
    """The same from embeddings [n, width] that are there already, one row for each of `sentences`.

    `precision` is the one that they were computed in, whatever their own: it tells a collapse from its rounding.
    """
    row = {text: index for index, text in enumerate(sentences)}
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(embeddings).all(axis=1))
    return [_score_one(part, row, embeddings, finite, COLLAPSED_BELOW[precision]) for part in pairs]


def _score_one(
    pairs: Pairs,
    row: dict[str, int],
    embeddings: NDArray[np.floating],
    finite: NDArray[np.bool_],
    collapsed_below: float,
) -> Score:
    first = [row[text] for text in pairs.first]
    second = [row[text] for text in pairs.second]
    used = list(dict.fromkeys([*first, *second]))
    if not finite[used].all():
        return Score(pairs.task, pairs.split, len(pairs), None, None, "diverged")
    place = {index: position for position, index in enumerate(used)}
    first, second = [place[index] for index in first], [place[index] for index in second]
    rows = embeddings[used]
    units = unit_rows(rows)
    found = Score(
        task=pairs.task,
        split=pairs.split,
        pairs=len(pairs),
        spearman=None,
        pearson=None,
        failure="collapsed",
        alignment=alignment(units[first], units[second], pairs.gold),
        uniformity=uniformity(units),
        spread=spread(units),
    )
    similarity = cosine(rows, first, second)
    if np.ptp(similarity) <= collapsed_below:
        return found
    parts = list(_subsets(pairs, similarity))
    by_spearman, by_pearson = [each[1] for each in parts], [each[2] for each in parts]
    sizes = [each[0] for each in parts]
    return replace(
        found,
        spearman=spearman(similarity, pairs.gold),
        pearson=pearson(similarity, pairs.gold),
        failure=None,
        spearman_mean=_mean(by_spearman),
        spearman_wmean=_mean(by_spearman, sizes),
        pearson_mean=_mean(by_pearson),
        pearson_wmean=_mean(by_pearson, sizes),
        similarity=similarity,
    )


def _subsets(pairs: Pairs, similarity: NDArray[np.float64]) -> Iterator[tuple[int, float | None, float | None]]:
    """Pairs, Spearman and Pearson of each subset; None where all its golds or similarities are the same."""
    names = np.array(pairs.subset)
    for name in dict.fromkeys(pairs.subset):
        of_subset = names == name
        ours, gold = similarity[of_subset], pairs.gold[of_subset]
        defined = np.ptp(ours) > 0 and np.ptp(gold) > 0
        yield len(gold), spearman(ours, gold) if defined else None, pearson(ours, gold) if defined else None


def _mean(values: Sequence[float | None], weights: Sequence[int] | None = None) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.average(known, weights=weights)) if len(known) == len(values) else None
