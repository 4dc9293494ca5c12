"""Correlations × 100 and the cosine that they are computed on, as SentEval computes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def cosine(embeddings: NDArray[np.floating], first: Sequence[int], second: Sequence[int]) -> NDArray[np.float64]:
    """Embeddings [rows, width] and the rows of n pairs → cosine similarity [n]; with a zero row it is 0.

    The product, the norms and the quotient are taken pair by pair in the embeddings' own precision, as in SentEval's
    `utils.cosine`: in fp32 the rounding decides the ranks of near-ties, of which there are hundreds (equal texts, for
    one), and a Spearman computed in another way differs in the third decimal. Rows are scaled only if a norm overflows.
    """
    with np.errstate(over="ignore", under="ignore"):
        norms = np.array([np.linalg.norm(row) for row in embeddings])
        if not np.isfinite(norms).all():
            largest = np.abs(embeddings).max(axis=1, keepdims=True)
            return cosine(embeddings / np.where(largest > 0, largest, 1), first, second)
        similarity = [
            _quotient(embeddings[i], embeddings[j], norms[i] * norms[j]) for i, j in zip(first, second, strict=True)
        ]
    return np.array(similarity, dtype=np.float64)


def _quotient(u: NDArray[np.floating], v: NDArray[np.floating], norms: np.floating) -> float:
    return float(np.dot(u, v) / norms) if norms > 0 else 0.0


def spearman(similarity: NDArray[np.float64], gold: NDArray[np.float64]) -> float:
    """Spearman's rank correlation × 100; ties take their average rank. Neither [n] may be constant."""
    return 100.0 * float(stats.spearmanr(similarity, gold).statistic)


def pearson(similarity: NDArray[np.float64], gold: NDArray[np.float64]) -> float:
    """Pearson's correlation × 100. Neither [n] may be constant."""
    return 100.0 * float(stats.pearsonr(similarity, gold).statistic)
