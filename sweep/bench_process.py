"""A fresh process for one encoder in one precision; asked for one measurement at a time, it answers with numbers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from model.config import EncoderConfig

if TYPE_CHECKING:
    from evaluation.pairs import Pairs
    from evaluation.score import Score
    from model.bench import Meter, Precision
    from model.memory import Memory


@dataclass(frozen=True)
class Prepared:
    """An encoder written in each precision, and what was learnt on the way."""

    parameters: int
    """Of the transformer."""
    file_bytes: dict[Precision, int]
    """Precision → bytes of the weights' file."""
    failures: dict[Precision, str]
    """Precision → why it could not be written."""
    threads: int
    """What torch computes with by itself here."""
    on_gpu: bool
    fast_bf16: bool
    """Whether the device has bf16 in hardware."""


class BenchProcess:
    """Lives in the other process; arguments and answers are copied."""

    _meter: Meter

    def prepare(
        self, config: EncoderConfig, precisions: Sequence[Precision], folder: Path, trust_remote_code: bool = False
    ) -> Prepared:
        """Write the encoder in each precision below `folder`.

        Raises:
            model.InputError, model.UnreachableError: the encoder cannot be loaded.
        """
        import torch

        from model.bench import save_as
        from model.device import choose_device
        from model.encoder import load_encoder
        from model.errors import InputError
        from model.precision import resolve_precision

        encoder, device = load_encoder(config, trust_remote_code=trust_remote_code), choose_device(None)
        file_bytes: dict[Precision, int] = {}
        failures: dict[Precision, str] = {}
        for precision in precisions:
            try:
                file_bytes[precision] = save_as(encoder, precision, folder / precision)
            except InputError as error:
                failures[precision] = str(error)
        return Prepared(
            parameters=sum(parameter.numel() for parameter in encoder.parameters()),
            file_bytes=file_bytes,
            failures=failures,
            threads=torch.get_num_threads(),
            on_gpu=device.type == "cuda",
            fast_bf16=resolve_precision("auto", device) == "bf16",
        )

    def load(self, folder: Path, precision: Precision, threads: int, trust_remote_code: bool = False) -> str:
        """Load what `prepare` wrote; from here on the memory is watched. Returns the device, `cpu` or `cuda`."""
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's
        from model.bench import Meter

        self._meter = Meter(folder / precision, precision, threads, trust_remote_code=trust_remote_code)
        return self._meter.device

    def pass_seconds(self, sentences: Sequence[str]) -> float:
        return self._meter.pass_seconds(sentences)

    def single_ms(self, sentences: Sequence[str]) -> list[float]:
        return self._meter.single_ms(sentences)

    def memory(self) -> Memory:
        return self._meter.memory()

    def score(self, pairs: Sequence[Pairs]) -> list[Score]:
        from evaluation.score import score

        return score(self._meter.encoder, pairs)


class _Manager(BaseManager):
    """The standard library's way to have an object in another process."""


_Manager.register("BenchProcess", BenchProcess)


@contextmanager
def fresh_process() -> Iterator[BenchProcess]:
    """A `BenchProcess` in a new interpreter, which ends with the block.

    A call raises what the method raised; EOFError or ConnectionError when the process is gone.
    """
    manager = _Manager(ctx=get_context("spawn"))
    manager.start(_end_with_parent)
    try:
        yield cast(BenchProcess, cast(Any, manager).BenchProcess())
    finally:
        manager.shutdown()


def _end_with_parent() -> None:
    """A manager's process would outlive a command that was killed, with an encoder in its memory."""

    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
