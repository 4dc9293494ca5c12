"""What the bootstrap draws: clusters of items with a text in common, inside the subsets that they come from.

Items with a text in common are not independent: STS12 holds the same pair twice, SICK builds ten pairs on one sentence,
and 1,007 pairs of STS-B test occur again in STS12 to STS16. Drawing items one by one would call a score surer than it
is (Field and Welsh 2007 on the bootstrap of whole clusters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputError
from evaluation.text import normalised


@dataclass(frozen=True)
class Items:
    """What one task scores, one entry an item.

    Raises:
        InputError: there is no item, an item without a text, or not one subset an item.
    """

    texts: tuple[tuple[str, ...], ...]
    """The two sentences of a scored pair, the one of a classified sentence."""
    subset: tuple[str, ...]
    """The part of the task that an item comes from."""

    def __post_init__(self) -> None:
        if not self.texts or not all(self.texts):
            raise InputError("a bootstrap needs at least one item, and every item at least one text")
        if len(self.texts) != len(self.subset):
            raise InputError(f"{len(self.texts)} items, but {len(self.subset)} subsets; every item needs one")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of the items of one task or of several, numbered so that those of a stratum are neighbours."""

    of_item: Mapping[str, NDArray[np.intp]]
    """Task → [n], the cluster of each of its items."""
    strata: Mapping[tuple[str, str], int]
    """(task, subset) → its number of clusters, in the order of the numbering; none has zero."""

    def draw(self, rng: np.random.Generator, resamples: int) -> NDArray[np.int32]:
        """[resamples, clusters]: how often each was drawn, with replacement, as many in each stratum as it has."""
        clusters = sum(self.strata.values())
        drawn = np.empty((resamples, clusters), dtype=np.int64)
        start = 0
        for size in self.strata.values():
            drawn[:, start : start + size] = rng.integers(start, start + size, (resamples, size))
            start += size
        drawn += np.arange(resamples)[:, None] * clusters
        return np.bincount(drawn.ravel(), minlength=drawn.size).astype(np.int32).reshape(resamples, clusters)


def clusters_of(tasks: Mapping[str, Items]) -> Clusters:
    """Put each item, of all `tasks`, into the cluster of that one of its texts that most items have.

    Equal pairs, in whichever order, and all pairs built on one sentence are thus drawn together, across tasks too.
    Joining all that hangs together through others would chain unlike pairs (170 of the 561 of STS13's OnWN by their
    template "the act of …") and make intervals several times as wide.

    A cluster belongs to the (task, subset) that most of its items come from, the first by name of several. Neither that
    nor the numbering depends on the order of the tasks or of the items: the same items give the same draws.
    """
    hub = _hubs([tuple(map(normalised, item)) for items in tasks.values() for item in items.texts])
    where = [(task, subset) for task, items in tasks.items() for subset in items.subset]
    names = sorted(set(where))
    stratum_of = {name: i for i, name in enumerate(names)}

    rank = {text: i for i, text in enumerate(sorted(set(hub)))}
    cluster = np.array([rank[text] for text in hub])
    votes = np.zeros((len(rank), len(names)), dtype=np.int64)
    np.add.at(votes, (cluster, np.array([stratum_of[name] for name in where])), 1)
    stratum = votes.argmax(axis=1)

    order = np.argsort(stratum, kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    ends = np.cumsum([len(items) for items in tasks.values()])[:-1]
    sizes = np.bincount(stratum, minlength=len(names)).tolist()
    return Clusters(
        of_item=dict(zip(tasks, np.split(number[cluster], ends), strict=True)),
        strata={name: size for name, size in zip(names, sizes, strict=True) if size},
    )


def _hubs(items: Sequence[tuple[str, ...]]) -> list[str]:
    """For each item that one of its texts that most items have; of several the first in sorted order."""
    uses = Counter(text for item in items for text in set(item))
    return [min(item, key=lambda text: (-uses[text], text)) for item in items]
