"""Which sentences a step sees and how: pure functions of (seed, step), so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import ViewsConfig
from model.errors import MisfitError
from model.tokens import TokenisedSentences
from model.views import make_view

_ORDER_STREAM, _VIEW_STREAM = 0, 1


class DataOrder:
    """A fresh permutation of the corpus for each epoch; an epoch's last partial batch is dropped."""

    def __init__(self, sentences: int, batch_size: int, seed: int) -> None:
        """Fix the order.

        Args:
            sentences: how many there are in the corpus.
            batch_size: sentences a step.
            seed: together with the epoch's number it decides the permutation.

        Raises:
            MisfitError: the corpus is smaller than one batch.
        """
        if batch_size > sentences:
            raise MisfitError(
                f"optim.batch_size is {batch_size} and data.corpus has {sentences} distinct sentences; "
                f"give more sentences, or a batch size up to {sentences}"
            )
        self._batch_size = batch_size
        self._steps_per_epoch = sentences // batch_size
        self._epoch = lru_cache(maxsize=1)(
            lambda epoch: np.random.default_rng([seed, _ORDER_STREAM, epoch]).permutation(sentences)
        )

    def rows(self, step: int) -> NDArray[np.int64]:
        """The sentences [batch_size] of a step; steps are counted from 0 over all epochs."""
        epoch, place = divmod(step, self._steps_per_epoch)
        order: NDArray[np.int64] = self._epoch(epoch)
        return order[place * self._batch_size : (place + 1) * self._batch_size]


def one_view(corpus: TokenisedSentences, rows: NDArray[np.int64], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both [N, T]; T is the longest sentence of this batch."""
    return pad([corpus.ids(row) for row in rows.tolist()], pad_id)


def two_views(
    corpus: TokenisedSentences,
    rows: NDArray[np.int64],
    pad_id: int,
    views: ViewsConfig,
    *,
    seed: int,
    step: int,
    share: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both [2n, T]: every sentence as it is, then every sentence's second view.

    Of the batch's sentences only those of `share`; what their views are does not depend on it.
    """
    if views.kind == "dropout":
        ids, mask = one_view(corpus, rows[share], pad_id)
        return ids.repeat(2, 1), mask.repeat(2, 1)
    rng = np.random.default_rng([seed, _VIEW_STREAM, step])
    first = [corpus.ids(row) for row in rows.tolist()]
    second = [
        np.asarray(make_view(views.kind, ids.tolist(), corpus.words(row).tolist(), views.rate, rng), dtype=np.int32)
        for ids, row in zip(first, rows.tolist(), strict=True)
    ]
    return pad(first[share] + second[share], pad_id)


def pad(sentences: Sequence[NDArray[np.int32]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask (1 for a token), both int64 [B, T] with T the longest sentence."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences))
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(sentences)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
