"""Correlations × 100 and the cosine that they are computed on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """[n, width] → the rows divided by their Euclidean norm; a zero row stays zero."""
    rows = np.array(embeddings, dtype=np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    rows /= np.where(norms > 0, norms, 1.0)[:, None]
    return rows


def cosine(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit rows [n, width] twice → cosine similarity [n]; with a zero row it is 0.

    For unit vectors 1 − ‖u − v‖²/2 is the same number as u·v, and it is exactly 1 for equal texts: with the product,
    rounding would rank them among one another by chance.
    """
    difference = first - second
    similarity = 1.0 - 0.5 * np.einsum("nd,nd->n", difference, difference)
    zero = ~first.any(axis=1) | ~second.any(axis=1)
    return np.where(zero, 0.0, similarity)


def spearman(similarity: NDArray[np.float64], gold: NDArray[np.float64]) -> float:
    """Spearman's rank correlation × 100; ties take their average rank. Neither [n] may be constant."""
    return 100.0 * float(stats.spearmanr(similarity, gold).statistic)


def pearson(similarity: NDArray[np.float64], gold: NDArray[np.float64]) -> float:
    """Pearson's correlation × 100. Neither [n] may be constant."""
    return 100.0 * float(stats.pearsonr(similarity, gold).statistic)
