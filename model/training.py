"""`train`: one training run as a generator that stops at every evaluation point for its consumer to score it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from model.batches import DataOrder, one_view, two_views
from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import TrainConfig
from model.corpus import corpus_identity
from model.course import Batch, Course
from model.device import choose_device
from model.encoder import Encoder
from model.errors import InputError, MisfitError
from model.ranks import ALONE, Ranks
from model.teacher import teacher_embeddings
from model.tokens import tokenised_corpus
from model.trainer import Trainer

Axis = Literal["sentences", "seconds"]
"""What evaluation points are counted in: sentences seen, or seconds of training."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands at an evaluation point, or where it was interrupted."""

    rung: float | None
    """The evaluation point as asked for, in sentences or seconds; the budget's end is `seconds` on that axis. None:
    an interruption between two points."""
    is_end: bool
    """Whether this is the end of the budget."""
    step: int
    """Steps taken."""
    sentences: int
    """Sentences seen, in whole batches."""
    seconds: float
    """Time spent on steps, over all resumes; without set-up and without the consumer's time."""
    loss: float
    """Mean over the steps since the last evaluation point."""
    encoder: Encoder
    """The encoder itself, not a copy. It may be evaluated; its weights must be left alone."""
    save: Callable[[Path], None]
    """Writes a checkpoint to a folder; of several ranks one is enough, and any number of them may go on from it. Only
    until the next point is asked for or the generator closed, else RuntimeError."""


def train(
    config: TrainConfig,
    *,
    evaluate_at: Sequence[float] = (),
    axis: Axis = "sentences",
    interrupt: Callable[[], bool] | None = None,
    resume_from: Path | None = None,
    threads: int | None = None,
    device: str | None = None,
    ranks: Ranks = ALONE,
    trust_remote_code: bool = False,
) -> Generator[Progress, None, None]:
    """Train an encoder; yield at every evaluation point and at the end of the budget.

    Closing the generator early frees what it holds. A run resumed on the same CPU with as many threads continues with
    the same bits, wherever it was saved (on three ranks or more to rounding: DDP adds gradients in another order in its
    first step). The consumer may draw random numbers and evaluate the encoder in between: it changes nothing.

    On several ranks every one runs this generator with the same arguments, on its share of each batch, and all of them
    yield at the same points. Negatives are those of the whole batch, so the loss does not depend on the number of
    ranks; without dropout nor does the training, beyond rounding.

    Args:
        config: the run.
        evaluate_at: the points; the end of the budget is always the last.
        axis: what the points are counted in. Sentences seen are rounded up to a whole batch. Seconds are those of
            `Progress.seconds`: a point is passed at the end of the first step that ends at it or later, and of points
            passed together only the last is yielded. Every step is then waited for, also on a GPU. Of several ranks
            the first one's seconds count.
        interrupt: asked after every step that passes no point, on the first rank; when it says True, the generator
            yields there too.
        resume_from: a checkpoint of the same run; points up to its own are not yielded again.
        threads: processor threads of this process from now on; None leaves them.
        device: as `model.device.choose_device`.
        ranks: who trains the same encoder together.
        trust_remote_code: as `model.encoder.load_encoder`, for the teacher too.

    Raises:
        DamagedError: the checkpoint is not whole, or of another format.
        InputError: something else given cannot be used; a batch larger than the corpus, a checkpoint of another run.
        DivergedError: the loss or a gradient is not finite.
    """
    budget, batch_size = config.budget.sentences, config.optim.batch_size
    if batch_size < ranks.size:
        raise MisfitError(
            f"optim.batch_size is {batch_size} and {ranks.size} workers share a batch; give each a sentence"
        )
    points = _points(evaluate_at, axis, budget)
    where = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    fingerprint = _fingerprint(config)
    saved = None if resume_from is None else load_checkpoint(resume_from)
    state = None if saved is None else saved[1]
    if resume_from is not None and state is not None:
        _check_same_run(resume_from, state, fingerprint)
    trainer = Trainer(config, _steps(budget, batch_size), where, ranks, threads, trust_remote_code=trust_remote_code)
    try:
        batch = _batches(
            config,
            trainer,
            partial(teacher_embeddings, threads=threads, device=device, trust_remote_code=trust_remote_code),
            ranks,
        )
        trainer.start(saved)
        course = Course(trainer, batch, state)
        passed = 0 if state is None else state["rung"]
        del saved, state
        left = [point for point in points if point > passed]
        for point in _stops(course, trainer, config, left, axis, interrupt, ranks):
            course.settle()
            loss = course.loss
            if point is not None:
                passed = point
                course.mark()
            randomness = trainer.randomness()
            everyones = ranks.of_all(randomness)
            yield Progress(
                rung=course.seconds if point == math.inf else point,
                is_end=point == points[-1],
                step=trainer.step,
                sentences=trainer.step * batch_size,
                seconds=course.seconds,
                loss=loss,
                encoder=trainer.encoder,
                save=_saver(trainer, fingerprint | course.state() | {"rung": passed, "randomness": everyones}),
            )
            trainer.set_randomness(randomness)
            trainer.encoder.train()
    finally:
        trainer.close()


def _stops(
    course: Course,
    trainer: Trainer,
    config: TrainConfig,
    points: Sequence[float],
    axis: Axis,
    interrupt: Callable[[], bool] | None,
    ranks: Ranks,
) -> Iterator[float | None]:
    """Take steps; yield each point when it is passed, and None where the training is interrupted."""
    budget, batch_size = config.budget.sentences, config.optim.batch_size

    def is_passed(point: float) -> bool:
        if axis == "sentences" or point == math.inf:
            return trainer.step * batch_size >= min(point, budget)
        return course.seconds >= point

    while points:
        passed = [point for point in points if is_passed(point)]
        if passed:
            point = passed[0] if axis == "sentences" else passed[-1]
            points = [later for later in points if later > point]
            yield point
            continue
        course.advance(wait=axis == "seconds")
        if axis == "seconds":
            course.seconds = ranks.number_of_first(course.seconds)
        if interrupt is not None and not any(map(is_passed, points)) and ranks.agree(interrupt):
            yield None


def _batches(
    config: TrainConfig, trainer: Trainer, embed: Callable[[TrainConfig], NDArray[np.float32]], ranks: Ranks
) -> Callable[[int], Batch]:
    """A function from the step's number to what `Trainer.advance` takes; `embed` gives the teacher's embeddings."""
    tokenizer = trainer.encoder.tokenizer
    corpus = tokenised_corpus(config.data.corpus, tokenizer, config.encoder.max_length)
    order = DataOrder(len(corpus), config.optim.batch_size, config.seed)
    distils = config.loss.distillation_weight > 0
    teacher = embed(config) if distils else None
    pad_id = tokenizer.pad_token_id or 0
    share = ranks.share(config.optim.batch_size)

    def batch(step: int) -> Batch:
        rows = order.rows(step)
        targets = None if teacher is None else torch.from_numpy(teacher[rows])
        if config.loss.contrastive_weight == 0:
            return *one_view(corpus, rows[share], pad_id), targets
        return *two_views(corpus, rows, pad_id, config.views, seed=config.seed, step=step, share=share), targets

    return batch


def _saver(trainer: Trainer, extra: dict[str, Any]) -> Callable[[Path], None]:
    step = trainer.step

    def save(folder: Path) -> None:
        if trainer.step != step:
            raise RuntimeError("save belongs to one evaluation point: call it before asking for the next or closing")
        save_checkpoint(folder, trainer.encoder.state_dict(), trainer.state() | extra)

    return save


def _points(evaluate_at: Sequence[float], axis: Axis, budget: int) -> list[float]:
    """The points in order, the budget's end last: on the axis of seconds infinity, for nobody knows when that is."""
    if axis == "seconds":
        if wrong := [point for point in evaluate_at if not 0 < point < math.inf]:
            raise InputError(f"evaluation points {wrong} are no seconds of training: above 0, and finite")
        return [*sorted(set(evaluate_at)), math.inf]
    if outside := [point for point in evaluate_at if not 1 <= point <= budget]:
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
