"""`train`: one training run as a generator that stops at every evaluation point for its consumer to score it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.batches import DataOrder, one_view, two_views
from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import TrainConfig
from model.corpus import corpus_identity
from model.device import choose_device
from model.encoder import Encoder
from model.errors import DivergedError, InputError
from model.teacher import teacher_embeddings
from model.tokens import tokenised_corpus
from model.trainer import Trainer

_READ_EVERY_STEPS = 32
"""Losses are read this often: reading each would make a GPU wait at every step."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands at an evaluation point."""

    rung: int
    """The evaluation point as asked for, in sentences."""
    step: int
    """Steps taken."""
    sentences: int
    """Sentences seen: whole batches, so `rung` or a little more."""
    seconds: float
    """Time spent on steps, over all resumes; without set-up and without the consumer's time."""
    loss: float
    """Mean over the steps since the last evaluation point."""
    encoder: Encoder
    """The encoder itself, not a copy. It may be evaluated; its weights must be left alone."""
    save: Callable[[Path], None]
    """Writes a checkpoint to a folder. Only until the next point is asked for or the generator closed,
    else RuntimeError."""


def train(
    config: TrainConfig,
    *,
    evaluate_at: Sequence[int] = (),
    resume_from: Path | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> Generator[Progress, None, None]:
    """Train an encoder; yield at every evaluation point and at the end of the budget.

    Closing the generator early frees what it holds. A run resumed on the same CPU with as many threads continues with
    the same bits. The consumer may draw random numbers and evaluate the encoder in between: it changes nothing.

    Args:
        config: the run.
        evaluate_at: sentences seen, each rounded up to a whole batch; the budget is always the last.
        resume_from: a checkpoint of the same run; points up to its own are not yielded again.
        threads: processor threads of this process from now on; None leaves them.
        device: as `model.device.choose_device`.

    Raises:
        InputError: something given cannot be used; a batch larger than the corpus, a damaged checkpoint.
        DivergedError: the loss or a gradient is not finite.
    """
    batch_size = config.optim.batch_size
    points = _points(evaluate_at, config.budget.sentences)
    where = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    fingerprint = _fingerprint(config)
    saved = None if resume_from is None else load_checkpoint(resume_from)
    state = {"rung": 0, "seconds": 0.0, "loss": math.nan} if saved is None else saved[1]
    if resume_from is not None:
        _check_same_run(resume_from, state, fingerprint)
    trainer = Trainer(config, _steps(config.budget.sentences, batch_size), where)
    try:
        next_batch = _batches(config, trainer, threads, device)
        trainer.start(saved)
        rung, seconds, loss = state["rung"], state["seconds"], state["loss"]
        del saved, state
        for rung in (point for point in points if point > rung):
            started = time.perf_counter()
            loss = _advance(trainer, _steps(rung, batch_size), next_batch, loss)
            seconds += time.perf_counter() - started
            randomness = trainer.randomness()
            extra = fingerprint | {"rung": rung, "seconds": seconds, "loss": loss, "randomness": randomness}
            yield Progress(
                rung=rung,
                step=trainer.step,
                sentences=trainer.step * batch_size,
                seconds=seconds,
                loss=loss,
                encoder=trainer.encoder,
                save=_saver(trainer, extra),
            )
            trainer.set_randomness(randomness)
            trainer.encoder.train()
    finally:
        trainer.close()


Batch = tuple[Tensor, Tensor, Tensor | None]


def _batches(config: TrainConfig, trainer: Trainer, threads: int | None, device: str | None) -> Callable[[int], Batch]:
    """A function from the step's number to what `Trainer.advance` takes."""
    tokenizer = trainer.encoder.tokenizer
    corpus = tokenised_corpus(config.data.corpus, tokenizer, config.encoder.max_length)
    order = DataOrder(len(corpus), config.optim.batch_size, config.seed)
    distils = config.loss.distillation_weight > 0
    teacher = teacher_embeddings(config, threads=threads, device=device) if distils else None
    pad_id = tokenizer.pad_token_id or 0

    def batch(step: int) -> Batch:
        rows = order.rows(step)
        targets = None if teacher is None else torch.from_numpy(teacher[rows])
        if config.loss.contrastive_weight == 0:
            return *one_view(corpus, rows, pad_id), targets
        return *two_views(corpus, rows, pad_id, config.views, seed=config.seed, step=step), targets

    return batch


def _advance(trainer: Trainer, until: int, batch: Callable[[int], Batch], last_loss: float) -> float:
    """Train up to a step; the mean loss on the way (`last_loss` if there is no step to take)."""
    losses: list[float] = []
    unread: list[Tensor] = []
    while trainer.step < until:
        unread.append(trainer.advance(*batch(trainer.step)))
        if len(unread) == _READ_EVERY_STEPS or trainer.step == until:
            losses += _read(unread, trainer.step)
            unread.clear()
    return math.fsum(losses) / len(losses) if losses else last_loss


def _read(unread: Sequence[Tensor], step: int) -> Iterable[float]:
    pairs = torch.stack(list(unread)).tolist()
    for back, (loss, norm) in enumerate(pairs):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
            raise DivergedError(
                f"diverged at step {step - len(pairs) + back + 1}: {what}; "
                "lower optim.learning_rate, raise loss.temperature or set precision=fp32"
            )
    return [loss for loss, _ in pairs]


def _saver(trainer: Trainer, extra: dict[str, Any]) -> Callable[[Path], None]:
    step = trainer.step

    def save(folder: Path) -> None:
        if trainer.step != step:
            raise RuntimeError("save belongs to one evaluation point: call it before asking for the next or closing")
        save_checkpoint(folder, trainer.encoder.state_dict(), trainer.state() | extra)

    return save


def _points(evaluate_at: Sequence[int], budget: int) -> list[int]:
    outside = [point for point in evaluate_at if not 1 <= point <= budget]
    if outside:
        raise InputError(f"evaluation points {outside} are outside the budget: 1 to budget.sentences = {budget}")
    return sorted({*evaluate_at, budget})


def _steps(sentences: int, batch_size: int) -> int:
    return -(-sentences // batch_size)


def _fingerprint(config: TrainConfig) -> dict[str, Any]:
    """What must not differ between a run and its continuation; a corpus may lie elsewhere but not read otherwise."""
    knobs = {name: value for name, value in config.flatten().items() if name != "data.corpus"}
    return {"knobs": knobs, "corpus": corpus_identity(config.data.corpus)}


def _check_same_run(folder: Path, state: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    then, now = state["knobs"], fingerprint["knobs"]
    differ = [
        f"{name} was {then.get(name)!r} and is {now.get(name)!r}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    if state["corpus"] != fingerprint["corpus"]:
        differ.append("data.corpus has other contents")
    if differ:
        raise InputError(
            f"checkpoint {folder} is of another run: " + "; ".join(differ) + "; start anew, or give the same knobs"
        )
