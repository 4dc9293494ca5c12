"""`Course`: the steps of one training, with their time and their losses since the last evaluation point."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from model.errors import DivergedError
from model.trainer import Trainer

Batch = tuple[Tensor, Tensor, Tensor | None]

_READ_EVERY_STEPS = 32
"""Losses are read this often: reading each would make a GPU wait at every step."""


class Course:
    """Takes the steps of a `Trainer`.

    Attributes:
        seconds: spent on steps, over all resumes.
    """

    def __init__(self, trainer: Trainer, batch: Callable[[int], Batch], state: Mapping[str, Any] | None) -> None:
        """Begin anew, or where `state` was taken.

        Args:
            trainer: started.
            batch: from the step's number to what `Trainer.advance` takes.
            state: what `state` returned.
        """
        self._trainer, self._batch = trainer, batch
        self._unread: list[Tensor] = []
        begin: Mapping[str, Any] = state or {"seconds": 0.0, "loss": math.nan, "loss_sum": 0.0, "loss_steps": 0}
        self.seconds: float = begin["seconds"]
        self._last_loss: float = begin["loss"]
        self._sum: float = begin["loss_sum"]
        self._steps: int = begin["loss_steps"]

    def advance(self, *, wait: bool) -> None:
        """Take one step; `wait` until it has been taken, so that `seconds` is exact on a GPU too.

        Raises:
            DivergedError: the loss or a gradient is not finite. Without `wait` some steps late.
        """
        started = time.perf_counter()
        self._unread.append(self._trainer.advance(*self._batch(self._trainer.step)))
        self.seconds += time.perf_counter() - started
        if wait or len(self._unread) == _READ_EVERY_STEPS:
            self.settle()

    def settle(self) -> None:
        """Wait for the steps taken, and read their losses."""
        if not self._unread:
            return
        started = time.perf_counter()
        for loss in _read(self._unread, self._trainer.step):
            self._sum += loss  # one by one: a sum that was interrupted has the same bits
            self._steps += 1
        self._unread.clear()
        self.seconds += time.perf_counter() - started

    @property
    def loss(self) -> float:
        """Mean over the settled steps since `mark`; its own mean where there is no step since."""
        return self._sum / self._steps if self._steps else self._last_loss

    def mark(self) -> None:
        """An evaluation point: the mean begins anew."""
        self._last_loss, self._sum, self._steps = self.loss, 0.0, 0

    def state(self) -> dict[str, Any]:
        """What a settled course goes on from."""
        return {"seconds": self.seconds, "loss": self._last_loss, "loss_sum": self._sum, "loss_steps": self._steps}


def _read(unread: Sequence[Tensor], step: int) -> list[float]:
    pairs = torch.stack(list(unread)).tolist()
    for back, (loss, norm) in enumerate(pairs):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
            raise DivergedError(
                f"diverged at step {step - len(pairs) + back + 1}: {what}; "
                "lower optim.learning_rate, raise loss.temperature or set precision=fp32"
            )
    return [loss for loss, _ in pairs]
