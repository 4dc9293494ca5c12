"""The losses, pure functions of embeddings [N, D]; each returns a scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import MisfitError


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """InfoNCE in one direction (SimCSE, arXiv 2104.08821, equation 1): each `first[i]` must find its `second[i]`.

    Args:
        first: embeddings [N, D] of one view.
        second: embeddings [N, D] of the other; row i is the positive of `first[i]`, the others its negatives.
        temperature: τ, which divides the cosines.
    """
    logits_NN = F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T / temperature  # noqa: N806
    return F.cross_entropy(logits_NN, torch.arange(len(first), device=first.device))


def cosine_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 − cos(student_i, teacher_i).

    Args:
        student: embeddings [N, D].
        teacher: embeddings [N, D] of the same sentences.

    Raises:
        MisfitError: the widths differ.
    """
    if student.shape[-1] != teacher.shape[-1]:
        raise MisfitError(
            f"loss.distillation cosine needs equal widths: the student's vectors have {student.shape[-1]} numbers, the "
            f"teacher's {teacher.shape[-1]}; use loss.distillation: similarity, or another pooling"
        )
    return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def similarity_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two batches' cosine matrices, diagonal left out; widths may differ.

    Similarity-preserving distillation (Tung and Mori, arXiv 1907.09682, equation 4) on cosines, so that the loss has
    the scale of what STS measures.

    Args:
        student: embeddings [N, D].
        teacher: embeddings [N, D'] of the same sentences.
    """
    cosines = [F.normalize(vectors.float(), dim=-1) for vectors in (student, teacher)]
    difference = cosines[0] @ cosines[0].T - cosines[1] @ cosines[1].T
    pairs = len(student) * (len(student) - 1)
    return (difference - difference.diag().diag()).pow(2).sum() / pairs


DISTILLATION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_distillation,
    "similarity": similarity_distillation,
}
"""`loss.distillation` → the loss of (student [N, D], teacher [N, D'])."""
