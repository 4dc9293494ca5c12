"""What a command may score: encoders by name, the lexical floor, a sweep's winner and what it must be above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import EncoderConfig, TrainConfig
from model.source import find_fault
from sweep.errors import Problem, Refused, Unreachable, nearest
from sweep.record import Record
from sweep.root import argument
from sweep.spec.check import is_absent
from sweep.spec.knobs import KNOBS, value_of
from sweep.spec.yaml_file import scalar
from sweep.trial_record import best_trial

if TYPE_CHECKING:
    from evaluation.lexical import LexicalEncoder
    from model.encoder import Encoder

LEXICAL = "lexical"


Make = Callable[[], "Encoder | LexicalEncoder"]
Entries = dict[str, Make]
"""Name in the table → what makes that encoder when its turn comes, so that one is in memory at a time."""


@dataclass(frozen=True)
class LexicalSource:
    """What the lexical floor is fitted on."""

    corpus: tuple[str, ...] = ()
    word_counts: Path | None = None

    def check(self) -> None:
        """Refuse what could not be fitted on, before anything else is scored for minutes.

        Raises:
            Refused: files that are missing or damaged, all at once.
        """
        from model.corpus import find_corpus_faults

        problems = [Problem(fault, key="--corpus") for fault in find_corpus_faults(self.corpus)] if self.corpus else []
        if self.word_counts is not None and not self.word_counts.is_file():
            problems.append(Problem("no such file", str(self.word_counts), key="--word-counts"))
        if problems:
            raise Refused(problems, next="stsweep eval lexical --corpus FILE --word-counts FILE")

    def fit(self) -> LexicalEncoder:
        from evaluation.lexical import LexicalEncoder, read_word_counts
        from model.corpus import read_corpus

        counts = read_word_counts(self.word_counts) if self.word_counts else None
        return LexicalEncoder.fit(read_corpus(self.corpus) if self.corpus else (), counts)


def named_entries(
    models: Sequence[str],
    changes: Sequence[str],
    lexical: LexicalSource,
    root: Path,
    *,
    trust_remote_code: bool = False,
) -> Entries:
    """The encoders of these names; faults are told before the first of them is scored for minutes.

    Args:
        models: names as `encoder.name`, exported folders, or `lexical`.
        changes: `encoder.KNOB=VALUE`, for each of them.
        lexical: for the lexical floor.
        root: where sweeps are, for who names one as an encoder.
        trust_remote_code: run code that an encoder's own files bring.

    Raises:
        Refused: a change that is none, a sweep, a damaged encoder or one with code of its own that is not trusted,
            nothing to fit the lexical floor on.
        Unreachable: an encoder that is not there.
    """
    for name in models:
        if (root / name / "sweep.json").exists() and not Path(name).exists():
            message = f"{name!r} is a sweep, not an encoder; give it as --sweep"
            raise Refused([Problem(message)], next=f"stsweep eval --sweep {argument(root / name)}")
    return {name: _entry(name, changes, lexical, trust_remote_code) for name in models}


def _entry(name: str, changes: Sequence[str], lexical: LexicalSource, trust_remote_code: bool) -> Make:
    if name == LEXICAL:
        if lexical == LexicalSource():
            raise Refused(
                [Problem("the lexical floor is fitted on training sentences or word counts, and neither was given")],
                next="stsweep eval lexical --corpus FILE, or --corpus demo, or --word-counts FILE",
            )
        lexical.check()
        return lexical.fit
    config = encoder_config(name, changes)
    if fault := find_fault(name, weights=config.weights == "pretrained", trust_remote_code=trust_remote_code):
        kind = Unreachable if is_absent(name) else Refused
        raise kind([Problem(fault + nearest(name, [LEXICAL]))], next="stsweep eval MODEL, a folder or package:NAME")
    return partial(load, config, trust_remote_code)


def encoder_config(name: str, changes: Sequence[str] = ()) -> EncoderConfig:
    """How to load the encoder `name`: what its folder declares, then the changes.

    Raises:
        Refused: a change is not `encoder.KNOB=VALUE` with a value that the knob allows; all of them at once.
        model.InputError, model.UnreachableError: no such folder or package.
    """
    from model.source import declared_pooling

    allowed = [knob for knob in KNOBS if knob.startswith("encoder.") and knob != "encoder.name"]
    knobs: dict[str, Any] = {"encoder.name": name}
    if pooling := declared_pooling(name):
        knobs["encoder.pooling"] = pooling
    problems: list[Problem] = []
    for change in changes:
        knob, equals, text = (part.strip() for part in change.partition("="))
        if not equals or knob not in allowed:
            why = f"no knob of an encoder{nearest(knob, allowed)}; allowed: {', '.join(allowed)}"
            problems.append(Problem(why if equals else "no '='; give KEY=VALUE", f"--set {change}"))
            continue
        try:
            knobs[knob] = value_of(knob, scalar(text))
        except ValueError as error:
            problems.append(Problem(str(error), f"--set {change}", key=knob))
    if problems:
        raise Refused(problems, next=f"stsweep eval {name} --set encoder.pooling=avg_last_hidden")
    return TrainConfig.from_flat(knobs).encoder


def sweep_entries(record: Record, lexical: LexicalSource, *, trust_remote_code: bool = False) -> Entries:
    """The winner and, beside it, what it must be above.

    Raises:
        Refused: there is no winner yet.
    """
    from model.encoder import saved_config

    best = best_trial(record.trials())
    if best is None:
        raise Refused(
            [Problem(f"no trial of {record.name!r} has reached the top rung yet")],
            next=f"stsweep status {record.argument}",
        )
    config = TrainConfig.from_flat(best.config)
    record.share.fetch_encoder(best.number)
    folder = best.folder / "encoder"
    entries: Entries = {
        f"{record.name} {best.number:04d}": lambda: load(saved_config(folder), trust_remote_code),
        "untrained": partial(load, config.encoder, trust_remote_code),
    }
    if config.teacher.name is not None:
        teacher = EncoderConfig(name=config.teacher.name, pooling=config.teacher.pooling)
        entries["teacher"] = partial(load, teacher, trust_remote_code)
    floor = LexicalSource(lexical.corpus or config.data.corpus, lexical.word_counts)
    floor.check()
    return entries | {LEXICAL: floor.fit}


def load(config: EncoderConfig, trust_remote_code: bool = False) -> Encoder:
    """The encoder on the GPU, or on the processor where there is none."""
    from model.device import choose_device
    from model.encoder import load_encoder

    return load_encoder(config, trust_remote_code=trust_remote_code).to(choose_device(None))
