"""Which errors of a training mean that its configuration has no score, and which state that gives the trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errors import DivergedError, InputError, MisfitError

if TYPE_CHECKING:
    from sweep.trial_record import TrialState

NO_MEMORY_TEXTS = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""In the messages of torch's RuntimeErrors where there is no memory, beside `torch.OutOfMemoryError`, which is that of
a GPU's allocator alone: of main memory (c10/core/impl/alloc_cpu.cpp; also in the InputError that `load_encoder` makes
of it), of a GPU too full for a context, and of cuBLAS's own workspace."""


class NoMemoryError(Exception):
    """An earlier attempt was killed for memory."""


def state_without_score(error: Exception) -> TrialState | None:
    """The state of a trial that ended by this error; None when it says nothing of the configuration."""
    import torch

    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError | MemoryError | MisfitError | NoMemoryError):
        return "infeasible"
    if isinstance(error, RuntimeError | InputError) and any(text in str(error) for text in NO_MEMORY_TEXTS):
        return "infeasible"
    return None
