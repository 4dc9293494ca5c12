"""A training's state on disk: whole or not there, and checked before it is believed.

A checkpoint is a folder: `weights.safetensors`, `state.pt` (optimiser, randomness, position) and `manifest.json` with
the size and SHA-256 of the other two. safetensors notices a cut file but not a flipped bit, hence the hashes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.cache import sync
from model.errors import InputError

_WEIGHTS, _STATE, _MANIFEST = "weights.safetensors", "state.pt", "manifest.json"


def save_checkpoint(folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write both durably; a folder of that name is replaced. One process at a time writes to a name.

    Args:
        folder: the checkpoint; folders above it are made.
        weights: parameters and buffers by name.
        state: plain values, tensors and containers of them (what `torch.load(weights_only=True)` takes).

    Raises:
        OSError: the disk refuses.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, replaced = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("part", "old"))
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary / _WEIGHTS)
    torch.save(dict(state), temporary / _STATE)
    files = {name: _describe(temporary / name) for name in (_WEIGHTS, _STATE)}
    (temporary / _MANIFEST).write_text(json.dumps({"format": 1, "files": files}, indent=1) + "\n", encoding="utf-8")
    for name in (_WEIGHTS, _STATE, _MANIFEST):
        sync(temporary / name)
    sync(temporary)
    if folder.exists():
        # No rename replaces a folder that is not empty. Killed between these two lines, neither is there.
        folder.rename(replaced)
    temporary.rename(folder)
    sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name, and the state, as they were saved, on the CPU.

    Raises:
        InputError: a file is missing, cut or altered; the message names it.
    """
    for name, expected in _read_manifest(folder).items():
        path = folder / name
        if not path.is_file():
            raise _damaged(path, "is missing")
        found = _describe(path)
        if found["bytes"] != expected["bytes"]:
            raise _damaged(path, f"has {found['bytes']} bytes, not {expected['bytes']}")
        if found["sha256"] != expected["sha256"]:
            raise _damaged(path, "was altered: its SHA-256 is not the manifest's")
    return load_file(folder / _WEIGHTS), torch.load(folder / _STATE, map_location="cpu", weights_only=True)


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / _MANIFEST
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        expected = {name: {key: files[name][key] for key in ("bytes", "sha256")} for name in (_WEIGHTS, _STATE)}
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "is no manifest of a checkpoint") from error
    return expected


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"checkpoint {path.parent}: {path.name} {what}; resume from an earlier checkpoint or start anew")
