"""An encoder as a sentence-transformers folder: `SentenceTransformer(folder)` gives the vectors that ours gives.

Averages over layers are a `WeightedLayerPooling` with weights 0 and 1. A maximum over layers is no linear function of
them and no module of sentence-transformers 6 computes it, so that folder carries its own (`layer_pooling.py`).
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.folder import wants_own_code

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from model.encoder import Encoder

_LOAD = "load it with SentenceTransformer(folder, trust_remote_code=True)"
_POOLING_CODE = (
    "no module of sentence-transformers takes a maximum over layers, so the folder holds its own, layer_pooling.py: "
)
_MODEL_CODE = "transformers does not have the encoder's architecture, so the folder holds its code: "

_LAYERS: dict[str, Callable[[range], tuple[int, ...]]] = {
    "last_hidden": lambda states: (states[-1],),
    "last_second_hidden": lambda states: (states[-2],),
    "all_hidden": tuple,
    "second_to_last_hidden": lambda states: tuple(states[1:]),
    "first_last": lambda states: (states[0], states[-1]),
    "last2": lambda states: tuple(states[-2:]),
    "last4": lambda states: tuple(states[-4:]),
}
"""Second part of a pooling's name → which of the hidden states 0 (embedding output) to L it reads."""


def code_note(pooling: str, saved: Path) -> str | None:
    """What to know of a folder that holds code: since release 6 a local module, too, needs `trust_remote_code=True`.

    Args:
        pooling: of the encoder; a maximum has a module of its own.
        saved: the transformers folder, which may bring code.
    """
    if wants_own_code(saved):
        return _MODEL_CODE + _LOAD
    return _POOLING_CODE + _LOAD if pooling.startswith("max_") else None


def build(encoder: Encoder, saved: Path, trust_remote_code: bool = False) -> SentenceTransformer:
    """The encoder as sentence-transformers modules, on the CPU, sharing its weights.

    Args:
        encoder: a loaded encoder.
        saved: the transformers folder that it was loaded from.
        trust_remote_code: as it was loaded.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    reads_layers = encoder.pooling not in ("cls", "avg_last_hidden")
    trust = {"trust_remote_code": trust_remote_code}  # always said: by default it would be asked for on a terminal
    transformer = Transformer(
        str(saved),
        model_kwargs=dict(trust),
        processor_kwargs=dict(trust),
        config_kwargs={"output_hidden_states": reads_layers} | trust,
    )
    transformer.model = encoder.transformer  # as trained: a freshly loaded BERT would bring an untrained pooler head
    encoder.transformer.config.output_hidden_states = reads_layers
    modules = [transformer, *_pooling_modules(encoder.pooling, encoder.transformer.config)]
    return SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="cosine", local_files_only=True)


def save(built: SentenceTransformer, folder: Path) -> None:
    """Write the folder that `SentenceTransformer(folder)` loads."""
    from sweep.export import layer_pooling

    built.save(str(folder))
    listed = folder / "modules.json"
    text = listed.read_text(encoding="utf-8")
    if layer_pooling.__name__ in text:
        own = Path(layer_pooling.__file__)
        shutil.copyfile(own, folder / own.name)
        listed.write_text(text.replace(layer_pooling.__name__, own.stem), encoding="utf-8")
    if "add_pooling_layer" in inspect.signature(type(built[0].model).__init__).parameters:
        # Else every load would make a head at random and warn of it; it is read by nothing.
        settings = folder / "sentence_bert_config.json"
        content = json.loads(settings.read_text(encoding="utf-8")) | {"model_kwargs": {"add_pooling_layer": False}}
        settings.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _pooling_modules(pooling: str, config: Any) -> Iterator[Any]:
    from sentence_transformers.sentence_transformer.modules import Pooling

    from sweep.export.layer_pooling import LayerMaximum

    width, states = config.hidden_size, range(config.num_hidden_layers + 1)
    kind, _, which = pooling.partition("_")
    if pooling == "cls":
        yield Pooling(width, "cls")
    elif kind == "concat":
        yield from _concatenation(width, _LAYERS[which](states), len(states) - 1)
    else:
        layers = _LAYERS[which](states)
        if kind == "max":
            yield LayerMaximum(width, list(layers))
        elif layers != (states[-1],):
            yield _average(width, layers, len(states) - 1)
        yield Pooling(width, "mean")


def _average(width: int, layers: tuple[int, ...], count: int) -> Any:
    """Token embeddings: the mean of some of the hidden states 0 to `count`."""
    import torch
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    first = min(layers)
    weights = torch.tensor([float(state in layers) for state in range(first, count + 1)])
    return WeightedLayerPooling(
        width, num_hidden_layers=count, layer_start=first, layer_weights=torch.nn.Parameter(weights)
    )


def _concatenation(width: int, layers: tuple[int, ...], count: int) -> Iterator[Any]:
    """The mean over tokens of each layer, joined: what is joined so far passes on as `cls_token_embeddings`.

    `Pooling` puts that feature, where there is one, in the place of the CLS vector, and joins several modes in their
    order. A `Dense` of the identity is the one module that renames a feature and changes nothing.
    """
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    for place, layer in enumerate(layers):
        if place > 0:
            joined = place * width
            yield Dense(
                joined,
                joined,
                bias=False,
                activation_function=None,
                init_weight=torch.eye(joined),
                module_output_name="cls_token_embeddings",
            )
        yield _average(width, (layer,), count)
        # The width that a Pooling states is this times its modes; the last one's is the encoder's, 4 D.
        yield Pooling((place + 1) * width // 2, ("cls", "mean")) if place else Pooling(width, "mean")
