"""Encoding on several workers: every rank of a process group encodes a share of the sentences, all get all rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from model.errors import InputError


class Encodes(Protocol):
    """Sentences → float32 [n, width], one row a sentence, in the order given: `model.Encoder` or anything like it."""

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]: ...


class ShardedEncoder:
    """An encoder that shares its work with the same encoder on the other ranks of a `torch.distributed` process group.

    Without an initialised group, in a group of one, and outside the group given, it is the plain encoder.

    Attributes:
        encoder: this rank's own; every rank holds the same weights. Under NCCL its parameters name the rank's GPU;
            without parameters there, `torch.cuda.set_device` does.
        group: the ranks that share; None is the default group.
    """

    def __init__(self, encoder: Encodes, group: dist.ProcessGroup | None = None) -> None:
        self.encoder = encoder
        self.group = group

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [n, width] of sentences, in their order, on every rank; to be called on every rank of the group.

        A rank holds the result and one share beside it.

        Args:
            sentences: n texts, the same on every rank; n may be 0 or less than the number of ranks.

        Raises:
            InputError: on every rank: the ranks were given different sentences, or their encoders differ in width.
            RuntimeError: the encoder of another rank raised, or did not give a row a sentence; that rank raises its
                own error. All ranks have then left `encode`, and the group can be used again. A rank that dies is
                the process group's to notice: gloo at once, NCCL by its timeout.
        """
        ranks = dist.get_world_size(self.group) if dist.is_available() and dist.is_initialized() else 1
        if ranks <= 1:  # −1 outside the group
            return self.encoder.encode(sentences)
        self._check_same(sentences)
        if len(sentences) == 0:
            return self.encoder.encode(sentences)
        shares = deal([len(sentence) for sentence in sentences], ranks)
        own = shares[dist.get_rank(self.group)]
        try:
            shard = self._encode_share([sentences[row] for row in own])
        except Exception as error:
            # The others wait in this exchange: they are told before this rank leaves.
            self._exchange(f"{type(error).__name__}: {error}")
            raise
        width = _common_width(self._exchange(None if shard is None else shard.shape[1]))
        embeddings = np.zeros((len(sentences), width), dtype=np.float32)
        if shard is not None:
            embeddings[own] = shard
        del shard
        self._collect(embeddings, shares)
        return embeddings

    def _check_same(self, sentences: Sequence[str]) -> None:
        """Different sentences would mix rows, or leave ranks waiting for a share that nobody sends."""
        digest = hashlib.blake2b(digest_size=16)
        for sentence in sentences:
            digest.update(f"{sentence!r}\n".encode())  # repr: a lone surrogate has no UTF-8
        if len(set(self._exchange((len(sentences), digest.digest())))) > 1:
            raise InputError(difference(self._exchange([repr(sentence) for sentence in sentences])))

    def _encode_share(self, sentences: Sequence[str]) -> NDArray[np.float32] | None:
        """None for no sentences: only a shard with rows tells its width for certain."""
        if not sentences:
            return None
        shard = np.asarray(self.encoder.encode(sentences), dtype=np.float32)
        if shard.ndim != 2 or len(shard) != len(sentences):
            raise InputError(
                f"{type(self.encoder).__name__}.encode returned shape {list(shard.shape)} for {len(sentences)} "
                f"sentences; allowed is [{len(sentences)}, width]"
            )
        return shard

    def _collect(self, embeddings: NDArray[np.float32], shares: Sequence[NDArray[np.intp]]) -> None:
        """Fill in the other ranks' rows. Broadcasts, not one all_gather: shares differ in size, and none is padded."""
        device = self._wire()
        for source, rows in enumerate(shares):
            if len(rows):
                shard = torch.from_numpy(embeddings[rows]).to(device)
                dist.broadcast(shard, group=self.group, group_src=source)
                embeddings[rows] = shard.numpy(force=True)
                del shard  # or it would live on while the next one is made

    def _exchange(self, message: Any) -> list[Any]:
        """Every rank's message, in the order of ranks."""
        device, told = self._wire(), []
        for source in range(dist.get_world_size(self.group)):
            box = [message]
            dist.broadcast_object_list(box, group=self.group, group_src=source, device=device)
            told += box
        return told

    def _wire(self) -> torch.device:
        """Where a tensor must lie to be sent: NCCL alone sends from the rank's GPU only."""
        if "cpu:" in dist.get_backend_config(self.group):
            return torch.device("cpu")
        parameters = getattr(self.encoder, "parameters", tuple)
        devices = (parameter.device for parameter in parameters() if parameter.is_cuda)
        return next(devices, None) or torch.device("cuda", torch.cuda.current_device())


def deal(lengths: Sequence[int], ranks: int) -> list[NDArray[np.intp]]:
    """Rows of each rank, so that all ranks finish together: longest first, dealt to and fro (0 1 2 2 1 0 0 1 …).

    Shares differ by at most one row, and in total length by at most the longest row.

    Args:
        lengths: of the sentences, in characters: close enough to tokens, and every rank need not tokenise them all.
        ranks: 1 or more; more than rows leaves some without.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    turn = np.arange(len(order)) % (2 * ranks)
    owner = np.minimum(turn, 2 * ranks - 1 - turn)
    return [order[owner == rank] for rank in range(ranks)]


def difference(given: Sequence[Sequence[str]]) -> str:
    """What to tell ranks that were not all given the same sentences: the first one of them that differs from rank 0's.

    Args:
        given: each rank's sentences as Python writes them.
    """
    other = next(rank for rank, sentences in enumerate(given) if list(sentences) != list(given[0]))
    row = next(
        (row for row, pair in enumerate(zip(given[0], given[other], strict=False)) if len(set(pair)) > 1),
        min(len(given[0]), len(given[other])),
    )
    first, second = (f"{given[rank][row]:.80}" if row < len(given[rank]) else "nothing" for rank in (0, other))
    return (
        f"every rank must be given the same sentences in the same order; rank 0 was given {len(given[0])} and rank "
        f"{other} {len(given[other])}, and sentence {row} (from 0) is {first} on rank 0, {second} on rank {other}"
    )


def _common_width(told: Sequence[int | str | None]) -> int:
    """The width of all shards, from what each rank told: its width, None without rows, or the text of its error."""
    failed = [f"rank {rank} failed: {text}" for rank, text in enumerate(told) if isinstance(text, str)]
    if failed:
        raise RuntimeError(f"{'; '.join(failed)}. Nothing is encoded on any rank; that rank's traceback says where")
    widths = {rank: width for rank, width in enumerate(told) if isinstance(width, int)}
    if len(set(widths.values())) > 1:
        gives = ", ".join(f"{width} on rank {rank}" for rank, width in widths.items())
        raise InputError(f"every rank must hold the same encoder; the width of its vectors is {gives}")
    return next(iter(widths.values()))
