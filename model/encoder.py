"""`Encoder`: a transformer, its tokenizer and a pooling; from sentences to vectors.

Shapes: B sentences, T tokens, D hidden width, W = D or 4 D width of the sentence vector.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import EncoderConfig
from model.encoding import ListedTokens, Tokens, encode_tokens
from model.errors import InputError, MisfitError, UnreachableError
from model.folder import folder_fault, own_code_advice, wants_own_code
from model.pooling import check_depth, pool, pool_each, pooled_width
from model.source import DECLARED_FILE, declared, hub_advice, hub_answers, locate
from model.tokens import tokenised_texts

_NO_LIMIT = 2**20  # tokens, for an encoder whose positions have no table and no limit of their own
_DROPOUT_NAMES = ("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
"""DistilBERT's and BERT's names for hidden and attention dropout."""
_ASKS_FOR_TRUST = "trust_remote_code=True"
"""In the ValueError of transformers (dynamic_module_utils.py, `resolve_trust_remote_code`)."""


class Encoder(nn.Module):
    """Sentences → vectors.

    Attributes:
        transformer: the transformers model.
        tokenizer: its fast tokenizer.
        pooling: a name of `model.pooling.POOLINGS`.
        max_length: tokens a training sentence was cut to; `encode` does not cut there.
        width: W, numbers a sentence vector.
    """

    def __init__(self, transformer: Any, tokenizer: Any, pooling: str, max_length: int) -> None:
        super().__init__()
        check_depth(pooling, transformer.config.num_hidden_layers)
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length
        self.width = pooled_width(pooling, transformer.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask, both [B, T] → embeddings [B, W], fp32."""
        output = self.transformer(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return pool(self.pooling, output.hidden_states, attention_mask)

    def pool_each(self, poolings: Sequence[str], input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Token ids and mask, both [B, T] → embeddings [B, width of that pooling] by several poolings, fp32."""
        output = self.transformer(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return pool_each(poolings, output.hidden_states, attention_mask)

    def encode(
        self,
        sentences: Sequence[str],
        *,
        batch_tokens: int | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        cache_tokens: bool = False,
    ) -> NDArray[np.float32]:
        """Embeddings [n, W] of sentences, in their order; nothing is cut below the encoder's own position limit.

        Weights, mode and random state are left as they were.

        Args:
            sentences: n texts; n may be 0.
            batch_tokens: tokens a batch, padding included; None: what suits the device. Sentences are sorted by
                length, so little is padded.
            precision: `bf16` runs under autocast; the vectors are fp32 all the same.
            cache_tokens: keep the tokens on disk, for sentences that will be encoded again.
        """
        return self.encode_each([self.pooling], sentences, batch_tokens, precision, cache_tokens)[self.pooling]

    def encode_each(
        self,
        poolings: Sequence[str],
        sentences: Sequence[str],
        batch_tokens: int | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        cache_tokens: bool = False,
    ) -> dict[str, NDArray[np.float32]]:
        """What `encode` would give with each of `poolings`, from one forward pass: pooling → [n, its width].

        Raises:
            MisfitError: a pooling needs more layers than there are.
        """
        config = self.transformer.config
        for pooling in poolings:
            check_depth(pooling, config.num_hidden_layers)
        widths = {pooling: pooled_width(pooling, config.hidden_size) for pooling in poolings}
        if len(sentences) == 0:
            return {pooling: np.zeros((0, width), dtype=np.float32) for pooling, width in widths.items()}
        tokens = self._tokens(sentences, cache_tokens)
        return encode_tokens(self, tokens, widths, batch_tokens=batch_tokens, precision=precision)

    def _tokens(self, sentences: Sequence[str], cache_tokens: bool) -> Tokens:
        limit = position_limit(self.transformer)
        if cache_tokens and self.tokenizer.is_fast:
            return tokenised_texts(sentences, self.tokenizer, limit)
        ids = self.tokenizer(list(sentences), truncation=True, max_length=limit, return_attention_mask=False)
        return ListedTokens([np.asarray(row, dtype=np.int32) for row in ids["input_ids"]])


def position_limit(transformer: nn.Module) -> int:
    """Tokens that a transformer takes at most. A tokenizer's own `model_max_length` is often less, by choice."""
    for name, module in transformer.named_modules():
        # RoBERTa and MPNet count positions from behind the padding's: 514 rows are 512 tokens.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    config: Any = transformer.config
    return int(getattr(config, "max_position_embeddings", _NO_LIMIT))


def load_encoder(config: EncoderConfig, *, trust_remote_code: bool = False) -> Encoder:
    """An encoder in evaluation mode, on the CPU, fp32.

    Args:
        config: where from, which layers, which pooling, dropout in training.
        trust_remote_code: run Python code that the encoder's own files bring, where transformers has none for them.

    Raises:
        InputError: no encoder of a kind that can be loaded, `keep_layers` out of range, too few layers for the pooling,
            code of its own that is not trusted.
        UnreachableError: it is not on this machine and the Hub, or the package, cannot be reached.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    located = locate(config.name)
    if isinstance(located, Path) and (fault := folder_fault(located, weights=config.weights == "pretrained")):
        raise InputError(fault)
    if isinstance(located, Path) and not trust_remote_code and wants_own_code(located):
        raise InputError(own_code_advice(config.name))
    # Asked beforehand: the Hub's own client tries for half a minute. Random weights may do with what is cached.
    if isinstance(located, str) and config.weights == "pretrained" and not hub_answers():
        raise UnreachableError(hub_advice(config.name))
    try:
        transformer, tokenizer, missing = _read(config, str(located), trust_remote_code)
    except OSError as error:
        if isinstance(located, str):
            advice = f"the Hub has no encoder {config.name!r}, or does not give it to you: {error}"
            raise UnreachableError(advice if hub_answers() else hub_advice(config.name)) from error
        raise InputError(f"{config.name} cannot be loaded as an encoder: {error}") from error
    except (ValueError, KeyError, RuntimeError) as error:
        if _ASKS_FOR_TRUST in str(error):  # of a Hub id whose files were not here to look at, or of a tokenizer
            raise InputError(own_code_advice(config.name)) from error
        raise InputError(f"{config.name} cannot be loaded as an encoder: {error}") from error
    _check_complete(config.name, missing)
    _drop_pooler(transformer)
    if config.keep_layers is not None:
        _keep_layers(transformer, config.keep_layers, config.name)
    return Encoder(transformer, tokenizer, config.pooling, config.max_length).eval()


def _read(config: EncoderConfig, place: str, trust_remote_code: bool) -> tuple[Any, Any, Iterable[str]]:
    """Transformer, tokenizer and the names of weights that the files lack."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    # Always said: transformers' default asks on a terminal whether to run the repository's code.
    settings = AutoConfig.from_pretrained(place, trust_remote_code=trust_remote_code)
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code)
    if config.dropout is not None:
        for name in _DROPOUT_NAMES:
            if hasattr(settings, name):
                setattr(settings, name, config.dropout)
    build: Any = AutoModel
    if config.weights == "random":
        return build.from_config(settings, dtype=torch.float32, trust_remote_code=trust_remote_code), tokenizer, ()
    transformer, loading = build.from_pretrained(
        place,
        config=settings,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    return transformer, tokenizer, loading["missing_keys"]


def _check_complete(name: str, missing: Iterable[str]) -> None:
    """transformers fills what a file lacks with random numbers, and only warns."""
    lacking = sorted(key for key in missing if not key.startswith("pooler."))
    if lacking:
        raise InputError(
            f"{name} lacks {len(lacking)} of its architecture's weights, {lacking[0]} first; they would be random. "
            "Is config.json of another encoder? Fetch the folder again"
        )


def _drop_pooler(transformer: Any) -> None:
    """BERT's head on CLS is never used here: its weights would be trained by nobody and exported for nothing."""
    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = None


def _keep_layers(transformer: Any, keep: Sequence[int], name: str) -> None:
    """Keep some layers, in their own order, as DistilBERT was initialised from BERT (arXiv 1910.01108, section 3)."""
    count = transformer.config.num_hidden_layers
    wrong = [layer for layer in keep if not -count <= layer < count]
    if wrong:
        raise MisfitError(
            f"encoder.keep_layers names {', '.join(map(str, wrong))}; {name} has layers 0 to {count - 1} "
            f"(or −{count} to −1, from the end)"
        )
    kept = sorted({layer % count for layer in keep})
    if len(kept) != len(keep):
        raise InputError(
            f"encoder.keep_layers {','.join(map(str, keep))} names a layer twice: {name} has {count} layers, "
            f"so −{count} is 0 and −1 is {count - 1}"
        )
    lists = [
        (parent, child_name, child)
        for parent in transformer.modules()
        for child_name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if len(lists) != 1:
        raise InputError(
            f"{name} ({type(transformer).__name__}) has {len(lists)} lists of {count} layers, not one; "
            "encoder.keep_layers cannot tell which to cut"
        )
    parent, child_name, layers = lists[0]
    setattr(parent, child_name, nn.ModuleList([layers[layer] for layer in kept]))
    # ModernBERT's kind of attention a layer; the configuration refuses to be saved when the two lengths differ.
    if (kinds := getattr(transformer.config, "layer_types", None)) is not None:
        transformer.config.layer_types = [kinds[layer] for layer in kept]
    transformer.config.num_hidden_layers = len(kept)
    _check_rebuildable(transformer, name)


def _check_rebuildable(transformer: Any, name: str) -> None:
    """Loading rebuilds by the configuration, and a place may be special: ModernBERT's first layer has no norm."""
    with torch.device("meta"):
        rebuilt = type(transformer)(transformer.config)
    _drop_pooler(rebuilt)
    if rebuilt.state_dict().keys() != transformer.state_dict().keys():
        raise InputError(
            f"encoder.keep_layers: {name} ({type(transformer).__name__}) cut like this could not be saved and loaded "
            "again, because its layers are not built alike; keep layer 0 first"
        )


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write a transformers folder (safetensors, tokenizer) and `stsweep_encoder.json`; `load_encoder` reads it back.

    Raises:
        InputError: the folder exists and is not empty; nothing is overwritten.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} exists already and is not empty; nothing was changed")
    folder.mkdir(parents=True, exist_ok=True)
    encoder.transformer.save_pretrained(folder)
    if encoder.tokenizer.is_fast:
        # Left behind by the last call; in tokenizer.json it would cut other programs' sentences.
        encoder.tokenizer.backend_tokenizer.no_truncation()
        encoder.tokenizer.backend_tokenizer.no_padding()
    encoder.tokenizer.save_pretrained(folder)
    about = {"pooling": encoder.pooling, "max_length": encoder.max_length}
    (folder / DECLARED_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def saved_config(folder: Path) -> EncoderConfig:
    """How to load a folder that `save_encoder` wrote, with the pooling and length it was trained with."""
    return EncoderConfig(name=str(folder), **declared(folder))
