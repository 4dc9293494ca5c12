"""One optimisation step, and everything that a checkpoint must hold for the next one to be the same."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from model.config import EncoderConfig, TrainConfig
from model.encoder import Encoder, load_encoder, position_limit
from model.errors import MisfitError
from model.losses import DISTILLATION, info_nce
from model.pooling import WITHOUT_LAST_LAYER
from model.precision import resolve_precision
from model.ranks import ALONE, Ranks


class Trainer:
    """Encoder, optimiser, schedule, gradient scaling and randomness of one training.

    Attributes:
        encoder: in training mode, on the device.
        step: steps taken.
    """

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        device: torch.device,
        ranks: Ranks = ALONE,
        threads: int | None = None,
        *,
        trust_remote_code: bool = False,
    ) -> None:
        """Load the encoder and set the optimiser up; `start` must follow.

        Args:
            config: the run.
            total_steps: steps of the whole budget, over which the learning rate falls to 0.
            device: where to train. For one of several GPUs it becomes the process's current device.
            ranks: who else trains the same encoder.
            threads: processor threads of this process; None leaves them.
            trust_remote_code: as `model.encoder.load_encoder`.

        Raises:
            InputError: the encoder or the precision cannot be used.
        """
        self._config, self._total_steps, self._device, self._ranks = config, total_steps, device, ranks
        precision = resolve_precision(config.precision, device)
        torch.manual_seed(config.seed)
        encoder = load_encoder(config.encoder, trust_remote_code=trust_remote_code).to(device)
        _check_max_length(config.encoder, encoder)
        if device.index is not None:
            torch.cuda.set_device(device)
        # Accelerate keeps its state in the process and refuses a second precision in it (accelerate/state.py,
        # `_check_initialized`); a reused worker trains many configurations.
        AcceleratorState._reset_state(True)
        self._accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=config.encoder.pooling in WITHOUT_LAST_LAYER)
            ],
        )
        if threads is not None:
            torch.set_num_threads(threads)  # on several CPUs Accelerate has just set a number of its own
        self.encoder = encoder.train()
        self.step = 0
        self._updates = 0
        optimizer = torch.optim.AdamW(
            encoder.parameters(), config.optim.learning_rate, weight_decay=config.optim.weight_decay, fused=True
        )
        self._forward, self._optimizer = self._accelerator.prepare(_Forward(encoder), optimizer)

    def start(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> None:
        """Begin anew, or where `state` was taken: (weights, state) as `model.checkpoint.load_checkpoint` gives them."""
        # Seeded again: how much randomness loading took must not decide what dropout does.
        seed = self._config.seed
        torch.manual_seed(seed if self._ranks.is_first else self._ranks.seed(seed))
        if saved is None:
            return
        weights, state = saved
        self.encoder.load_state_dict(weights)
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self._updates = state["step"], state["updates"]
        if self._accelerator.scaler is not None and state["scaler"] is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        if len(state["randomness"]) == self._ranks.size:
            self.set_randomness(state["randomness"][self._ranks.rank])
        else:  # saved by another number of ranks: there is no state for this one
            torch.manual_seed(self._ranks.seed(seed, self.step))

    def advance(self, ids: Tensor, mask: Tensor, targets: Tensor | None) -> Tensor:
        """Take one step.

        Args:
            ids: token ids of this rank's share of the batch [2n, T], or [n, T] when `loss.contrastive_weight` is 0.
            mask: attention mask of the same shape.
            targets: the teacher's embeddings of the whole batch [N, width of the teacher], if there is a teacher.

        Returns:
            The loss of the whole batch and the gradient's norm before clipping [2], on the device (reading it waits for
            a GPU); the same on every rank.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.optim.learning_rate * (1 - self._updates / self._total_steps)
        self._optimizer.zero_grad()
        embeddings = self._forward(ids.to(self._device), mask.to(self._device))
        loss = self._loss(embeddings, None if targets is None else targets.to(self._device))
        self._accelerator.backward(loss * self._ranks.size)  # as `Ranks.gather_rows` says
        norm = self._accelerator.clip_grad_norm_(self.encoder.parameters(), self._config.optim.clip_norm)
        self._optimizer.step()
        self.step += 1
        if self._accelerator.scaler is None:
            self._updates += 1
            return torch.stack((loss.detach(), norm))
        # The gradient scaler skips the step of an overflow. Accelerate's `step_was_skipped` does not see it with a
        # fused optimiser, whose kernel does the skipping. An overflow is the scaler's business, not a divergence.
        self._updates += math.isfinite(norm.item())
        return torch.stack((loss.detach(), torch.zeros_like(norm)))

    def _loss(self, embeddings: Tensor, targets: Tensor | None) -> Tensor:
        weights, batch_size = self._config.loss, self._config.optim.batch_size
        own = len(range(batch_size)[self._ranks.share(batch_size)])
        first = self._ranks.gather_rows(embeddings[:own], batch_size)
        total = first.new_zeros(())
        if weights.contrastive_weight > 0:
            second = self._ranks.gather_rows(embeddings[own:], batch_size)
            total = total + weights.contrastive_weight * info_nce(first, second, weights.temperature)
        if targets is not None:
            total = total + weights.distillation_weight * DISTILLATION[weights.distillation](first, targets)
        return total

    def state(self) -> dict[str, Any]:
        """Everything beside the weights and the randomness that the next step depends on."""
        scaler = self._accelerator.scaler
        return {
            "step": self.step,
            "updates": self._updates,
            "optimizer": self._optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def randomness(self) -> dict[str, Tensor]:
        """The generators that dropout draws from."""
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def set_randomness(self, states: dict[str, Tensor]) -> None:
        """Put back what `randomness` returned."""
        torch.set_rng_state(states["cpu"])
        if self._device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self._device)

    def close(self) -> None:
        """Give the memory back, the encoder's as soon as nobody else holds it."""
        del self.encoder, self._forward, self._optimizer
        self.step = -1
        self._accelerator.free_memory()


class _Forward(nn.Module):
    """What Accelerate wraps in autocast, so that `encoder.encode(precision="fp32")` itself stays untouched by it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        embeddings: Tensor = self.encoder(ids, mask)
        return embeddings


def _check_max_length(config: EncoderConfig, encoder: Encoder) -> None:
    limit = position_limit(encoder.transformer)
    if config.max_length > limit:
        raise MisfitError(f"encoder.max_length is {config.max_length}; {config.name} takes at most {limit} tokens")
