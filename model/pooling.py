"""The fourteen poolings of the paper (Table 7): from the hidden states of all layers to one vector a sentence.

Shapes: B sentences, T tokens, D hidden width, L transformer layers. `hidden` has L + 1 entries [B, T, D]: `hidden[0]`
is the embedding output, `hidden[L]` the last layer. Means run over the tokens of the mask, CLS and SEP included.

"max" is the element-wise maximum **across layers**, then the mean over tokens. "second_to_last" is every layer from the
second (`hidden[1]`) to the last, not the second-to-last layer. "first" is `hidden[0]`, where SimCSE's own code has
`hidden[1]`. "last", "last2", "last4" count from the end, so other depths than DistilBERT's six work too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.config import POOLING_DEPTH
from model.errors import MisfitError

Pooling = Callable[[Sequence[Tensor], Tensor], Tensor]
"""(hidden states L + 1 × [B, T, D], mask [B, T]) → [B, D], or [B, 4 D] for `concat_last4`."""

POOLINGS: dict[str, Pooling] = {}


def _register(name: str, pooling: Pooling) -> None:
    if name in POOLINGS:
        raise ValueError(f"a pooling {name!r} is registered already")
    POOLINGS[name] = pooling


def mean_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of the mask: [B, T, D], [B, T] → [B, D], in fp32."""
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _average(layers: slice | tuple[int, ...]) -> Pooling:
    return lambda hidden, mask: mean_tokens(_stack(hidden, layers).mean(dim=0), mask)


def _maximum(layers: slice | tuple[int, ...]) -> Pooling:
    return lambda hidden, mask: mean_tokens(_stack(hidden, layers).amax(dim=0), mask)


def _concatenation(layers: slice) -> Pooling:
    return lambda hidden, mask: mean_tokens(torch.cat([state.float() for state in hidden[layers]], dim=-1), mask)


def _stack(hidden: Sequence[Tensor], layers: slice | tuple[int, ...]) -> Tensor:
    chosen = hidden[layers] if isinstance(layers, slice) else [hidden[layer] for layer in layers]
    return torch.stack([state.float() for state in chosen])


_register("cls", lambda hidden, mask: hidden[-1][:, 0].float())
_register("avg_last_hidden", _average((-1,)))
_register("avg_last_second_hidden", _average((-2,)))
_register("avg_all_hidden", _average(slice(None)))
_register("avg_second_to_last_hidden", _average(slice(1, None)))
_register("avg_first_last", _average((0, -1)))
_register("avg_last2", _average((-2, -1)))
_register("avg_last4", _average(slice(-4, None)))
_register("max_all_hidden", _maximum(slice(None)))
_register("max_second_to_last_hidden", _maximum(slice(1, None)))
_register("max_first_last", _maximum((0, -1)))
_register("max_last2", _maximum((-2, -1)))
_register("max_last4", _maximum(slice(-4, None)))
_register("concat_last4", _concatenation(slice(-4, None)))


def pool(name: str, hidden: Sequence[Tensor], mask: Tensor) -> Tensor:
    """One vector a sentence, fp32.

    Args:
        name: one of `POOLINGS`.
        hidden: L + 1 states [B, T, D].
        mask: [B, T], 1 for tokens and 0 for padding.

    Returns:
        [B, D], or [B, 4 D] for `concat_last4`.
    """
    return POOLINGS[name](hidden, mask)


def check_depth(name: str, layers: int) -> None:
    """Refuse a pooling that needs more layers than there are.

    Raises:
        MisfitError: fewer than `POOLING_DEPTH[name]` transformer layers.
    """
    if layers < POOLING_DEPTH[name]:
        fitting = [other for other, depth in POOLING_DEPTH.items() if depth <= layers]
        raise MisfitError(
            f"pooling {name} needs {POOLING_DEPTH[name]} transformer layers and the encoder has {layers}; "
            f"with {layers} these work: {', '.join(fitting)}"
        )


def pooled_width(name: str, width: int) -> int:
    """Width of the sentence vector for hidden width D."""
    return 4 * width if name == "concat_last4" else width
