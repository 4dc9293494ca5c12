"""How large an encoder's weights are, read from the headers of its safetensors files. No torch here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from model.errors import InputError, UnreachableError
from model.folder import folder_fault
from model.source import architecture, layer_count, locate

_WEIGHTS, _SHARDS = "model.safetensors", "model.safetensors.index.json"
_FP32_BYTES = 4
_LAYER = re.compile(r"\.?layers?\.(\d+)\.")
_EMBEDDINGS = re.compile(r"(.*?)embeddings\.")


def weight_bytes(name: str, keep_layers: Sequence[int] | None = None) -> int | None:
    """Bytes of the weights that `model.encoder.load_encoder` keeps, in fp32 whatever the files hold.

    Heads of other tasks and the pooler are not counted: they are not loaded.

    Args:
        name: as `EncoderConfig.name`.
        keep_layers: as `EncoderConfig.keep_layers`.

    Returns:
        None where the files are not on this disk, or are damaged.
    """
    try:
        place = locate(name)
    except (InputError, UnreachableError):
        return None
    if not isinstance(place, Path) or folder_fault(place):
        return None
    count = layer_count(architecture(name) or {})
    kept = None
    if keep_layers is not None and count:
        kept = {layer % count for layer in keep_layers}
    sizes = {tensor: numbers for file in _files(place) for tensor, numbers in _tensors(file)}
    return _FP32_BYTES * sum(
        sizes[tensor] for tensor in _loaded(sizes) if kept is None or _layer(tensor) in {None, *kept}
    )


def _files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    index = json.loads((folder / _SHARDS).read_text(encoding="utf-8"))
    return [folder / shard for shard in sorted(set(index["weight_map"].values()))]


def _tensors(path: Path) -> Iterator[tuple[str, int]]:
    """Tensor → how many numbers it has. Eight bytes give the length of the JSON header that lists them."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    for tensor, entry in header.items():
        if tensor != "__metadata__" and entry["dtype"].startswith(("F", "BF")):
            yield tensor, math.prod(entry["shape"])


def _loaded(tensors: Iterable[str]) -> list[str]:
    """A file with heads puts the encoder itself under a prefix (`bert.`), which its embeddings show."""
    names = list(tensors)
    prefixes = [match[1] for name in names if (match := _EMBEDDINGS.match(name))]
    prefix = min(prefixes, key=len, default="")
    return [name for name in names if name.startswith(prefix) and not name.startswith(f"{prefix}pooler.")]


def _layer(tensor: str) -> int | None:
    match = _LAYER.search(tensor)
    return int(match[1]) if match else None
