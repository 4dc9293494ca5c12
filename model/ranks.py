"""`Ranks`: the processes that train one encoder together, each on its share of every batch.

The same code runs on every rank. What one rank alone may decide (it reads a clock, looks at a disk, hears from the
scheduler) it decides for all: `from_first` gives rank 0's answer to every rank, so that all take the same turn. Alone,
every method is the plain thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Ranks:
    """One process's place among those of `torch.distributed`'s default group, or `alone` where there is none.

    Messages go through gloo, whatever the default group's backend is: NCCL sends from a GPU only.

    Attributes:
        rank: this process's number, from 0.
        size: how many there are.
        group: for messages; None when alone.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self.group = rank, size, group

    @classmethod
    def of_this_process(cls) -> Ranks:
        """The ranks of the default group; to be called on all of them, in the same order of such calls."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        return self.size > 1

    def share(self, count: int) -> slice:
        """This rank's rows of `count`: consecutive, and at most one more than another rank's."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def from_first(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if not self.are_several:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]

    def agree(self, question: Callable[[], bool]) -> bool:
        """Rank 0's answer; the others are not asked. Cheap enough for every step: one number is sent."""
        if not self.are_several:
            return question()
        return self.number_of_first(float(question()) if self.is_first else 0.0) > 0

    def number_of_first(self, number: float) -> float:
        """Rank 0's number, on every rank."""
        if not self.are_several:
            return number
        sent = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(sent, group=self.group, group_src=0)
        return float(sent.item())

    def of_all(self, value: T) -> list[T]:
        """Every rank's value, in the order of ranks, on every rank."""
        if not self.are_several:
            return [value]
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, value, group=self.group)
        return told

    def gather_rows(self, own: Tensor, count: int) -> Tensor:
        """The rows of all ranks [count, D] in fp32, from this rank's `share` of them [n, D].

        Gradients flow into this rank's rows alone: a loss of the whole result must be scaled by `size` before
        `backward`, for data-parallel training divides the sum of the ranks' gradients by their number. Then every
        weight's gradient is that of the same loss computed on one rank, however many there are.
        """
        if not self.are_several:
            return own
        shares = [Ranks(rank, self.size).share(count) for rank in range(self.size)]
        longest = max(share.stop - share.start for share in shares)
        sent = own.new_zeros(
            (longest, own.shape[1]), dtype=torch.float32
        )  # shares differ in size, what is sent must not
        sent[: len(own)] = own.detach()
        received = [torch.empty_like(sent) for _ in shares]
        dist.all_gather(received, sent)
        rows = [part[: share.stop - share.start] for part, share in zip(received, shares, strict=True)]
        rows[self.rank] = own.float()
        return torch.cat(rows)

    def seed(self, *words: int) -> int:
        """A seed of this rank's own from the words given: what dropout draws must not be the same on two ranks."""
        return int(np.random.SeedSequence([*words, self.rank]).generate_state(1, np.uint64)[0])


ALONE = Ranks()
