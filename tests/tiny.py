"""Encoders small enough to be built in milliseconds, so that no test needs the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast
from transformers.utils import logging

POSITIONS = 64
"""Tokens that a tiny encoder takes at most."""

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-()"
# fmt: off
_WORDS = (
    "the", "a", "an", "of", "in", "on", "is", "are", "was", "not", "and", "to", "at", "he", "she", "it", "they",
    "man", "woman", "child", "boy", "girl", "dog", "cat", "horse", "bird", "plays", "play", "##s", "##ing", "##ed",
    "eats", "eat", "sees", "see", "runs", "run", "walk", "talk", "red", "blue", "old", "new", "big", "small",
    "guitar", "piano", "apple", "house", "street", "water", "snow", "slowly", "today", "people", "person", "two",
    "three", "sit", "stand", "with", "sentence", "number",
)
# fmt: on


def tiny_encoder_folder(
    folder: Path,
    *,
    architecture: Literal["distilbert", "bert"] = "distilbert",
    layers: int = 4,
    width: int = 32,
    seed: int = 0,
) -> Path:
    """A random encoder and its tokenizer in a folder that `AutoModel.from_pretrained` loads.

    Args:
        folder: is made; what lies there under the same names is replaced.
        architecture: BERT is built without its pooler.
        layers: transformer layers.
        width: of a token's vector; a multiple of 4 (there are four heads).
        seed: of the weights. The process's own random state is left alone.

    Returns:
        `folder`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _distilbert(layers, width) if architecture == "distilbert" else _bert(layers, width)
    # Trained encoders tell sentences apart; the usual 0.02 of a fresh one hardly does.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "position" not in name:
                parameter.mul_(6)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-casing WordPiece over a few words and every letter, so that common words are one token and others many."""
    pieces = [*_SPECIAL, *_CHARACTERS, *(f"##{character}" for character in _CHARACTERS), *_WORDS]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _distilbert(layers: int, width: int) -> DistilBertModel:
    return DistilBertModel(
        DistilBertConfig(
            vocab_size=_vocabulary_size(),
            max_position_embeddings=POSITIONS,
            n_layers=layers,
            n_heads=4,
            dim=width,
            hidden_dim=2 * width,
        )
    ).eval()


def _bert(layers: int, width: int) -> BertModel:
    config = BertConfig(
        vocab_size=_vocabulary_size(),
        max_position_embeddings=POSITIONS,
        num_hidden_layers=layers,
        num_attention_heads=4,
        hidden_size=width,
        intermediate_size=2 * width,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def _vocabulary_size() -> int:
    return len(tiny_tokenizer())


def own_code_folder(folder: Path, mark: Path) -> Path:
    """A tiny encoder of an architecture that only Python code in its own folder knows; running the code makes `mark`.

    Args:
        folder: is made.
        mark: gets a line whenever a file of the code is run.

    Returns:
        `folder`.
    """
    tiny_encoder_folder(folder)
    (folder / "configuration_own.py").write_text(_OWN_CODE.format(mark=str(mark)) + _OWN_CONFIG)
    (folder / "modeling_own.py").write_text(_OWN_CODE.format(mark=str(mark)) + _OWN_MODEL)
    settings = json.loads((folder / "config.json").read_text())
    settings["model_type"] = "own-tiny"
    settings["architectures"] = ["OwnModel"]
    settings["auto_map"] = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


_OWN_CODE = """
import json
from pathlib import Path

with Path({mark!r}).open("a") as mark:
    mark.write(__name__ + chr(10))
"""
_OWN_CONFIG = """
from transformers import DistilBertConfig


class OwnConfig(DistilBertConfig):
    model_type = "own-tiny"
"""
_OWN_MODEL = """
from transformers import DistilBertModel

from .configuration_own import OwnConfig


class OwnModel(DistilBertModel):
    config_class = OwnConfig
"""


def pickled_folder(folder: Path, mark: Path) -> Path:
    """A tiny encoder whose weights are a pickle that makes `mark` when it is read without care."""
    tiny_encoder_folder(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"weights": _Trap(str(mark))}, folder / "pytorch_model.bin")
    return folder


class _Trap:
    def __init__(self, mark: str) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self._mark),)
