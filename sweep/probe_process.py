"""A fresh process that trains a few steps of one configuration and evaluates it, as a trial does, and measures both."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context, parent_process
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypeVar

from model.config import BudgetConfig, DataConfig, TrainConfig
from sweep.no_score import NO_MEMORY_TEXTS

if TYPE_CHECKING:
    from evaluation.pairs import Pairs
    from model.encoder import Encoder
    from model.training import Progress

T = TypeVar("T")
_FEWEST_STEPS, _MOST_STEPS = 3, 20
_ENOUGH_S = 5.0
"""Of measured steps; fewer than `_FEWEST_STEPS` are never enough."""


@dataclass(frozen=True)
class Probed:
    """What one trial takes, alone on this machine.

    Attributes:
        device: `cpu` or `cuda`.
        threads: That it computed with.
        step_seconds: Median of the steps after the first, whose memory is not yet allocated.
        small_batch: The smallest batch of the space.
        small_step_seconds: The same in such batches, the configuration being the same otherwise.
        rung_seconds: To evaluate at a rung, in the training's precision.
        end_seconds: To evaluate at the end of the budget, in fp32.
        resident_bytes: The most resident memory of the process, in the configuration's own batches.
        gpu_bytes: The most that torch allocated on the GPU, likewise; None without one.
        gpu_total_bytes: What that GPU has.
    """

    device: str
    threads: int
    step_seconds: float
    small_batch: int
    small_step_seconds: float
    rung_seconds: float
    end_seconds: float
    resident_bytes: int
    gpu_bytes: int | None
    gpu_total_bytes: int | None


def probe_apart(
    config: TrainConfig,
    sentences: Sequence[str],
    pairs: Pairs,
    *,
    small_batch: int,
    every_pooling: bool,
    threads: int,
    trust_remote_code: bool,
) -> Probed:
    """`probe_here` in a new interpreter, which ends with this call or with this process.

    Raises:
        concurrent.futures.process.BrokenProcessPool: The process died, most likely for want of memory.
        MemoryError: There is too little, on the GPU or beside it.
        model.InputError, model.DivergedError: As `model.train`.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        return pool.submit(
            probe_here, config, sentences, pairs, small_batch, every_pooling, threads, trust_remote_code
        ).result()


def probe_here(
    config: TrainConfig,
    sentences: Sequence[str],
    pairs: Pairs,
    small_batch: int,
    every_pooling: bool,
    threads: int,
    trust_remote_code: bool = False,
) -> Probed:
    """Train on `sentences`, at least a batch of them, and score on `pairs`; whatever is cached on the way is removed.

    Call it in a process of its own: it counts the memory of the whole process and sets its cache folder.
    """
    import torch

    from model.memory import forget_peak, peak_bytes
    from model.teacher import teacher_embeddings
    from model.training import train

    with TemporaryDirectory(prefix="stsweep-probe-") as scratch:
        os.environ["STSWEEP_CACHE"] = scratch
        corpus = Path(scratch) / "sentences.txt"
        corpus.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
        short = _short(config, config.optim.batch_size, corpus)
        learn = partial(train, threads=threads, trust_remote_code=trust_remote_code)
        with _memory_errors():
            if short.loss.distillation_weight > 0:  # trials find them computed: their memory is not a trial's
                teacher_embeddings(short, threads=threads, trust_remote_code=trust_remote_code)
            forget_peak()
            if on_gpu := torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            step_seconds, (rung_seconds, end_seconds) = _train(
                short, learn, lambda encoder: _evaluations(encoder, short, pairs, every_pooling)
            )
            resident_bytes = peak_bytes()
            gpu_bytes = torch.cuda.max_memory_allocated() if on_gpu else None
            small_step_seconds = step_seconds
            if small_batch < short.optim.batch_size:
                small_step_seconds, _ = _train(_short(config, small_batch, corpus), learn, lambda encoder: None)
        return Probed(
            device="cuda" if on_gpu else "cpu",
            threads=threads,
            step_seconds=step_seconds,
            small_batch=small_batch,
            small_step_seconds=small_step_seconds,
            rung_seconds=rung_seconds,
            end_seconds=end_seconds,
            resident_bytes=resident_bytes,
            gpu_bytes=gpu_bytes,
            gpu_total_bytes=torch.cuda.get_device_properties(0).total_memory if on_gpu else None,
        )


def _short(config: TrainConfig, batch: int, corpus: Path) -> TrainConfig:
    """`config` on another corpus, for the steps that are measured."""
    return config.model_copy(
        update={
            "data": DataConfig(corpus=(str(corpus),)),
            "optim": config.optim.model_copy(update={"batch_size": batch}),
            "budget": BudgetConfig(sentences=batch * (1 + _MOST_STEPS)),
        }
    )


def _train(
    config: TrainConfig, learn: Callable[..., Generator[Progress, None, None]], then: Callable[[Encoder], T]
) -> tuple[float, T]:
    """Seconds of a step, and what `then` gives at the last, while optimiser and gradients lie in memory."""
    batch = config.optim.batch_size
    ends: list[float] = []
    with closing(learn(config, evaluate_at=range(batch, config.budget.sentences, batch))) as training:
        for progress in training:
            ends.append(progress.seconds)
            steps = len(ends) - 1
            if steps == _MOST_STEPS or (steps >= _FEWEST_STEPS and ends[-1] - ends[0] >= _ENOUGH_S):
                return median(after - before for before, after in pairwise(ends)), then(progress.encoder)
    raise AssertionError("the budget of `_short` has a step more than is measured")


def _evaluations(encoder: Encoder, config: TrainConfig, pairs: Pairs, every_pooling: bool) -> tuple[float, float]:
    """Seconds of an evaluation at a rung, and of one at the end."""
    from model.device import choose_device
    from model.precision import resolve_precision

    _tokenise(encoder, pairs)
    end_seconds = _evaluate(encoder, pairs, every_pooling, "fp32")
    half = resolve_precision(config.precision, choose_device(None)) == "bf16"
    return _evaluate(encoder, pairs, every_pooling, "bf16") if half else end_seconds, end_seconds


def _tokenise(encoder: Encoder, pairs: Pairs) -> None:
    """Trials find the pairs' tokens in the cache."""
    from evaluation.score import distinct_sentences
    from model.encoder import position_limit
    from model.tokens import tokenised_texts

    if encoder.tokenizer.is_fast:
        tokenised_texts(distinct_sentences([pairs]), encoder.tokenizer, position_limit(encoder.transformer))


def _evaluate(encoder: Encoder, pairs: Pairs, every_pooling: bool, precision: Literal["fp32", "bf16"]) -> float:
    from sweep.measure import measure

    begin = time.perf_counter()
    measure(encoder, pairs, "spearman", precision, every_pooling=every_pooling)
    return time.perf_counter() - begin


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Every way in which torch says that there is no memory becomes MemoryError, which any process can read."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from None
    except RuntimeError as error:
        if any(text in str(error) for text in NO_MEMORY_TEXTS):
            raise MemoryError(str(error)) from None
        raise


def _end_with_parent() -> None:
    """The process would outlive a command that was killed."""

    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
