"""Where embeddings lie on the sphere: alignment, uniformity (Wang and Isola 2020) and spread.

A Spearman says how pairs are ranked; these say why. An encoder that collapses loses its spread and its uniformity
rises towards 0 before the correlation goes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POSITIVE_ABOVE = 4.0
"""Pairs with a higher gold are positive: SimCSE's choice for STS-B (arXiv 2104.08821, section 7); scales end at 5."""
MOST_SENTENCES = 2048
"""Uniformity compares all pairs of sentences: of more than this, as many, evenly spaced, stand for the rest."""

_TINY = np.finfo(np.float32).tiny


def unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """[n, width] → the rows divided by their Euclidean norm; a zero row stays zero."""
    largest = np.abs(embeddings).max(axis=1, initial=0.0, keepdims=True)
    # First to at most 1, for a square may overflow.
    rows = np.asarray(embeddings / np.maximum(largest, np.finfo(embeddings.dtype).tiny), dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    unit: NDArray[np.float32] = rows / np.maximum(norms, _TINY)[:, None]
    return unit


def alignment(first: NDArray[np.float32], second: NDArray[np.float32], gold: NDArray[np.float64]) -> float | None:
    """Mean squared distance of positive pairs, 0 to 4; None without a positive pair.

    Args:
        first: unit rows [n, width].
        second: those of the other sentences.
        gold: [n].
    """
    positive = gold > POSITIVE_ABOVE
    if not positive.any():
        return None
    difference = (first[positive] - second[positive]).astype(np.float64)
    return float(np.einsum("nd,nd->n", difference, difference).mean())


def uniformity(units: NDArray[np.float32]) -> float:
    """log of the mean of exp(−2 ‖u − v‖²) over all pairs of rows [n, width]: 0 in one point, −4 spread evenly.

    Of more than `MOST_SENTENCES` rows a fixed choice.
    """
    rows = units[np.linspace(0, len(units) - 1, min(len(units), MOST_SENTENCES)).round().astype(int)]
    if len(rows) < 2:
        return 0.0
    squares = np.einsum("nd,nd->n", rows, rows)
    distances = squares[:, None] + squares[None, :] - 2.0 * (rows @ rows.T)
    np.fill_diagonal(distances, 0.0)
    kernel = np.exp(-2.0 * np.maximum(distances, 0.0)).sum(dtype=np.float64) - len(rows)  # less each row with itself
    return float(np.log(max(kernel, np.finfo(np.float64).tiny) / (len(rows) * (len(rows) - 1))))


def spread(units: NDArray[np.float32]) -> float:
    """Root of the summed variances of the features of unit rows [n, width]: 0 all equal, 1 evenly around 0."""
    centred = units - units.mean(axis=0, dtype=np.float64).astype(np.float32)
    return float(np.sqrt(np.einsum("nd,nd->n", centred, centred).mean(dtype=np.float64)))
