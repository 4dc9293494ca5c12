"""Whether a folder holds an encoder that transformers can load, told in milliseconds from its files. No torch here."""

from __future__ import annotations

import json
from pathlib import Path

_WEIGHTS, _SHARDS = "model.safetensors", "model.safetensors.index.json"
_OWN_CODE = "auto_map"
"""The key under which a model's files name the Python classes that they bring."""
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


def folder_fault(folder: Path, *, weights: bool = True) -> str | None:
    """The first thing that would keep an encoder from loading, or None.

    Args:
        folder: of `config.json`, a tokenizer and safetensors weights.
        weights: False asks for configuration and tokenizer only, enough for `encoder.weights: random`.
    """
    try:
        if not isinstance(json.loads((folder / "config.json").read_text(encoding="utf-8")), dict):
            return f"{folder / 'config.json'} is no JSON object"
    except OSError as error:
        return f"the folder {folder}: config.json cannot be read ({error.strerror}); is it saved by transformers?"
    except ValueError as error:
        return f"{folder / 'config.json'} is not JSON ({error}); fetch the folder again"
    if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
        return f"the folder {folder} has no tokenizer: one of {', '.join(_VOCABULARIES)}; fetch the whole folder"
    return _weights_fault(folder) if weights else None


def wants_own_code(folder: Path) -> bool:
    """Whether transformers could only load the folder of a sound `config.json` by running Python code from it.

    A folder may bring code for an architecture that transformers has too: then transformers' own is taken.
    """
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not content.get(_OWN_CODE):
        return False
    from transformers import CONFIG_MAPPING

    return content.get("model_type") not in CONFIG_MAPPING


def own_code_advice(name: str) -> str:
    """Why an encoder with code of its own is not loaded, and how it is."""
    return (
        f"the encoder {name} can only be loaded by running Python code that its own files bring, which could do "
        "anything; none is run unless you say so: read the code, then give --trust-remote-code"
    )


def _weights_fault(folder: Path) -> str | None:
    if (folder / _WEIGHTS).is_file():
        return _file_fault(folder / _WEIGHTS)
    if not (folder / _SHARDS).is_file():
        return (
            f"the folder {folder} has no {_WEIGHTS}; other formats are not read: "
            "load it where it was made and call save_pretrained, which writes safetensors"
        )
    try:
        shards = sorted(set(json.loads((folder / _SHARDS).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{folder / _SHARDS} is damaged; fetch it again"
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        return f"the folder {folder} lacks {', '.join(missing)}; fetch them again"
    return next((fault for shard in shards if (fault := _file_fault(folder / shard))), None)


def _file_fault(path: Path) -> str | None:
    """safetensors: 8 bytes with the header's length, a JSON header with each tensor's place, then the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == b"version ":
            return f"{path} is a Git LFS pointer, not the weights; in its repository: git lfs pull"
        length = int.from_bytes(start, "little")
        try:
            if length > size:
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{path} is no safetensors file or was cut short ({size} bytes); fetch it again"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"{path} has {size} bytes, not {expected}: cut short; fetch it again"
