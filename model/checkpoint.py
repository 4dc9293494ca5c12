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
_FORMAT = 3
"""Of `state.pt` too: what a training must find in it."""


class DamagedError(InputError):
    """A checkpoint is not whole, or of another format; the message names the file."""


def save_checkpoint(folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write both durably; a folder of that name is replaced. One process at a time writes to a name.

    Args:
        folder: the checkpoint; folders above it are made.
        weights: parameters and buffers by name.
        state: plain values, tensors and containers of them (what `torch.load(weights_only=True)` takes).

    Raises:
        Exception: the disk refuses; torch and safetensors have errors of their own for that.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    tidy_checkpoint(folder)
    temporary, replaced = _besides(folder)
    try:
        _write(temporary, weights, state)
    except BaseException:  # a disk that is full should not stay so
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        # No rename replaces a folder that is not empty. Killed between these two lines: see `tidy_checkpoint`.
        folder.rename(replaced)
    temporary.rename(folder)
    sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _write(folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    folder.mkdir()
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
    with (folder / _STATE).open("wb") as file:  # by a path, torch's error would not say that the disk is full
        torch.save(dict(state), file)
    files = {name: _describe(folder / name) for name in (_WEIGHTS, _STATE)}
    manifest = json.dumps({"format": _FORMAT, "files": files}, indent=1) + "\n"
    (folder / _MANIFEST).write_text(manifest, encoding="utf-8")
    for name in (_WEIGHTS, _STATE, _MANIFEST):
        sync(folder / name)
    sync(folder)


def tidy_checkpoint(folder: Path) -> None:
    """Remove what a killed `save_checkpoint` left beside `folder`; what it was about to replace is put back."""
    temporary, replaced = _besides(folder)
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)


def _besides(folder: Path) -> tuple[Path, Path]:
    """Where a save is written, and where what it replaces waits for its end."""
    return folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name, and the state, as they were saved, on the CPU.

    Raises:
        DamagedError: a file is missing, cut or altered, or another version of this program wrote it.
    """
    check_checkpoint(folder)
    return load_file(folder / _WEIGHTS), torch.load(folder / _STATE, map_location="cpu", weights_only=True)


def check_checkpoint(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        DamagedError: as `load_checkpoint`.
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


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        written, files = manifest["format"], manifest["files"]
        expected = {name: {key: files[name][key] for key in ("bytes", "sha256")} for name in (_WEIGHTS, _STATE)}
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "is no manifest of a checkpoint") from error
    if written != _FORMAT:
        raise _damaged(path, f"says format {written}; this version of stsweep reads {_FORMAT}")
    return expected


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"checkpoint {path.parent}: {path.name} {what}; resume from an earlier checkpoint or start anew"
    )
