"""Poolings over layers that sentence-transformers has no module for. This file is copied into an exported folder.

It must therefore import nothing of stsweep.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Module


class LayerMaximum(Module):
    """Token embeddings: the element-wise maximum over some of the transformer's hidden states."""

    config_keys = ["embedding_dimension", "layers"]  # noqa: RUF012 (the base class declares it so)

    def __init__(self, embedding_dimension: int, layers: list[int]) -> None:
        """Args:
        embedding_dimension: width D of a hidden state.
        layers: which hidden states, 0 being the embedding output.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding_dimension = embedding_dimension
        self.layers = layers

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Hidden states [B, T, D] of all layers → `token_embeddings` [B, T, D]."""
        states = features["all_layer_embeddings"]
        features["token_embeddings"] = torch.stack([states[layer] for layer in self.layers]).amax(dim=0)
        return features

    def get_embedding_dimension(self) -> int:
        """D."""
        return self.embedding_dimension

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)
