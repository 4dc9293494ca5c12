"""Sentence encoders: their configuration, training, encoding and files. Knows neither Ray nor the evaluation.

    from model import TrainConfig, train
    for progress in train(TrainConfig.from_flat({"encoder.name": "distilbert-base-uncased"}), evaluate_at=[64_000]):
        print(progress.sentences, progress.loss)

Importing the package loads no torch; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.config import EncoderConfig, TrainConfig
    from model.encoder import Encoder, load_encoder, save_encoder, saved_config
    from model.errors import DivergedError, InputError, MisfitError, UnreachableError
    from model.sharding import ShardedEncoder
    from model.training import Progress, train

_HOMES = {
    "DivergedError": "model.errors",
    "Encoder": "model.encoder",
    "EncoderConfig": "model.config",
    "InputError": "model.errors",
    "MisfitError": "model.errors",
    "Progress": "model.training",
    "ShardedEncoder": "model.sharding",
    "TrainConfig": "model.config",
    "UnreachableError": "model.errors",
    "load_encoder": "model.encoder",
    "save_encoder": "model.encoder",
    "saved_config": "model.encoder",
    "train": "model.training",
}

__all__ = [
    "DivergedError",
    "Encoder",
    "EncoderConfig",
    "InputError",
    "MisfitError",
    "Progress",
    "ShardedEncoder",
    "TrainConfig",
    "UnreachableError",
    "load_encoder",
    "save_encoder",
    "saved_config",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
