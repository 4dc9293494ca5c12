"""`Pairs`: the scored sentence pairs of one split of one task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputError


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentence pairs and their gold similarities, one entry a scored pair. A `Pairs` can always be scored.

    Raises:
        InputError: the columns differ in length, or the golds leave a correlation undefined.
    """

    task: str
    split: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: NDArray[np.float64]
    """[n], on the task's own scale."""
    subset: tuple[str, ...]
    """The part of the task a pair comes from, such as `MSRvid` of STS12."""

    def __post_init__(self) -> None:
        where = f"{self.task} {self.split}"
        lengths = [len(column) for column in (self.first, self.second, self.gold, self.subset)]
        if len(set(lengths)) > 1:
            raise InputError(f"{where}: first, second, gold and subset have {lengths} entries, not as many each")
        if len(self) < 2:
            raise InputError(f"{where}: {len(self)} scored pairs; a correlation needs at least 2")
        if not np.isfinite(self.gold).all():
            raise InputError(f"{where}: pair {int(np.argmin(np.isfinite(self.gold)))} has a gold that is not finite")
        if (self.gold == self.gold[0]).all():
            raise InputError(f"{where}: every gold is {self.gold[0]:g}; a correlation needs two that differ")

    def __len__(self) -> int:
        return len(self.first)
