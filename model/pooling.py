"""The fourteen poolings of the paper (Table 7): from the hidden states of all layers to one vector a sentence.

Shapes: B sentences, T tokens, D hidden width, L transformer layers. Hidden state 0 is the embedding output, L the last
layer; negative numbers count from the end, so other depths than DistilBERT's six work too. Means run over the tokens
of the mask, CLS and SEP included.

"max" is the element-wise maximum **across layers**, then the mean over tokens. "second_to_last" is every layer from the
second (hidden state 1) to the last, not the second-to-last layer. "first" is hidden state 0, where SimCSE's own code
has 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.config import POOLING_DEPTH
from model.errors import MisfitError


class HiddenStates:
    """The hidden states of one batch, with what several poolings need of them computed once."""

    def __init__(self, states: Sequence[Tensor], mask: Tensor) -> None:
        """Args:
        states: L + 1 × [B, T, D].
        mask: [B, T], 1 for tokens and 0 for padding.
        """
        self._states = states
        self._weights = mask.unsqueeze(-1).to(torch.float32)
        self._tokens = self._weights.sum(dim=1).clamp(min=1)
        self._means: dict[int, Tensor] = {}
        self._maxima: dict[frozenset[int], Tensor] = {}

    def first_token(self) -> Tensor:
        """The last layer at CLS, [B, D], fp32."""
        return self._states[-1][:, 0].float()

    def means(self, layers: Layers) -> list[Tensor]:
        """The mean over tokens of each of these layers, [B, D], fp32."""
        return [self._mean(layer) for layer in self._numbers(layers)]

    def maximum(self, layers: Layers) -> Tensor:
        """The mean over tokens of the element-wise maximum across these layers, [B, D], fp32."""
        return self._mean_over_tokens(self._maximum(frozenset(self._numbers(layers))))

    def _numbers(self, layers: Layers) -> range | list[int]:
        numbers = range(len(self._states))
        return numbers[layers] if isinstance(layers, slice) else [numbers[layer] for layer in layers]

    def _mean(self, layer: int) -> Tensor:
        if layer not in self._means:
            self._means[layer] = self._mean_over_tokens(self._states[layer])
        return self._means[layer]

    def _mean_over_tokens(self, state: Tensor) -> Tensor:
        return (state.float() * self._weights).sum(dim=1) / self._tokens

    def _maximum(self, layers: frozenset[int]) -> Tensor:
        """[B, T, D]; goes on from the largest maximum of some of these layers that is there already."""
        if layers not in self._maxima:
            done = max((known for known in self._maxima if known < layers), key=len, default=frozenset[int]())
            parts = [self._states[layer] for layer in sorted(layers - done)]
            highest = self._maxima[done] if done else parts.pop()
            for part in parts:
                highest = torch.maximum(highest, part)
            self._maxima[layers] = highest
        return self._maxima[layers]


Layers = slice | tuple[int, ...]
Pooling = Callable[[HiddenStates], Tensor]
"""Hidden states → [B, D], or [B, 4 D] for `concat_last4`, fp32."""

POOLINGS: dict[str, Pooling] = {}


def _register(name: str, pooling: Pooling) -> None:
    if name in POOLINGS:
        raise ValueError(f"a pooling {name!r} is registered already")
    POOLINGS[name] = pooling


def _average(layers: Layers) -> Pooling:
    return lambda states: torch.stack(states.means(layers)).mean(dim=0)


def _maximum(layers: Layers) -> Pooling:
    return lambda states: states.maximum(layers)


def _concatenation(layers: Layers) -> Pooling:
    return lambda states: torch.cat(states.means(layers), dim=-1)


_register("cls", HiddenStates.first_token)
_register("avg_last_hidden", _average((-1,)))
_register("avg_last_second_hidden", _average((-2,)))
_register("avg_all_hidden", _average(slice(None)))
_register("avg_second_to_last_hidden", _average(slice(1, None)))
_register("avg_first_last", _average((0, -1)))
_register("avg_last2", _average((-2, -1)))
_register("avg_last4", _average(slice(-4, None)))
# From few layers to many, so that in one pass each maximum goes on from the one before.
_register("max_last2", _maximum((-2, -1)))
_register("max_last4", _maximum(slice(-4, None)))
_register("max_second_to_last_hidden", _maximum(slice(1, None)))
_register("max_all_hidden", _maximum(slice(None)))
_register("max_first_last", _maximum((0, -1)))
_register("concat_last4", _concatenation(slice(-4, None)))

WITHOUT_LAST_LAYER = frozenset({"avg_last_second_hidden"})
"""Poolings in which the last layer plays no part, so that its weights have no gradient."""


def pool(name: str, hidden: Sequence[Tensor], mask: Tensor) -> Tensor:
    """One vector a sentence, fp32.

    Args:
        name: one of `POOLINGS`.
        hidden: L + 1 states [B, T, D].
        mask: [B, T], 1 for tokens and 0 for padding.

    Returns:
        [B, D], or [B, 4 D] for `concat_last4`.
    """
    return POOLINGS[name](HiddenStates(hidden, mask))


def pool_each(names: Sequence[str], hidden: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
    """Several poolings of one forward pass, as `pool` gives each, for little more than the dearest of them."""
    states = HiddenStates(hidden, mask)
    return {name: pooling(states) for name, pooling in POOLINGS.items() if name in names}


def fitting_poolings(layers: int) -> list[str]:
    """The poolings that an encoder with so many transformer layers has."""
    return [name for name, depth in POOLING_DEPTH.items() if depth <= layers]


def check_depth(name: str, layers: int) -> None:
    """Refuse a pooling that needs more layers than there are.

    Raises:
        MisfitError: fewer than `POOLING_DEPTH[name]` transformer layers.
    """
    if layers < POOLING_DEPTH[name]:
        raise MisfitError(
            f"pooling {name} needs {POOLING_DEPTH[name]} transformer layers and the encoder has {layers}; "
            f"with {layers} these work: {', '.join(fitting_poolings(layers))}"
        )


def pooled_width(name: str, width: int) -> int:
    """Width of the sentence vector for hidden width D."""
    return 4 * width if name == "concat_last4" else width
