"""Where a training runs: the graphics processor when there is one, else the processor."""

from __future__ import annotations

import gc

import torch

from model.errors import InputError


def choose_device(name: str | None) -> torch.device:
    """The device called `name` (`cpu`, `cuda`, `cuda:1`); None takes CUDA when there is one, else the CPU.

    Raises:
        InputError: the name is no device, or there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r} is unknown; allowed: cpu, cuda, cuda:0, cuda:1, …") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported; allowed: cpu, cuda, cuda:0, cuda:1, …")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r} is not here: {torch.cuda.device_count()} CUDA devices seen; nvidia-smi")
    return device


def free_memory() -> None:
    """Give back what the encoders that nobody holds any more took; a worker that lives on needs it for the next one."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
