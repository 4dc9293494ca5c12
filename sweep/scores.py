"""`stsweep eval`: encoders and the lexical floor on STS tasks, or a sweep's winner beside its baselines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evaluation.tasks import TASKS, load_pairs
from model.config import EncoderConfig, TrainConfig
from model.source import find_fault
from sweep.errors import Problem, Refused, Unreachable, nearest
from sweep.record import Record, best_trial
from sweep.root import argument
from sweep.spec.check import is_absent
from sweep.spec.knobs import KNOBS, value_of
from sweep.spec.sweep_spec import DATA_VARIABLE, load_spec
from sweep.spec.yaml_file import scalar

if TYPE_CHECKING:
    from evaluation.protocol import Encoder
    from evaluation.score import Score

LEXICAL = "lexical"
AVERAGES = {
    "paper5": ("sts12", "sts13", "sts14", "sts15", "stsb"),
    "sts7": ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr"),
}
"""Published averages over test splits: the paper's five tasks, and the seven of SimCSE. Never one for the other."""


@dataclass(frozen=True)
class Entry:
    """One row of the table: an encoder that is made when its turn comes, so that one is in memory at a time."""

    pooling: str | None
    make: Callable[[], Encoder]


Entries = dict[str, Entry]
"""Name in the table → that row."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of several encoders, by name, in the order of the table."""

    scores: Mapping[str, Sequence[Score]]
    poolings: Mapping[str, str | None] = field(default_factory=dict)
    """Encoder → the pooling that it was scored with; None for the lexical floor."""

    def averages(self) -> dict[str, dict[str, float]]:
        """Average → encoder → mean Spearman × 100; only those on all of whose tasks every encoder has a test score."""
        found: dict[str, dict[str, float]] = {}
        for average, tasks in AVERAGES.items():
            rows = {name: _test_scores(row, tasks) for name, row in self.scores.items()}
            if all(len(values) == len(tasks) for values in rows.values()):
                found[average] = {name: fmean(values) for name, values in rows.items()}
        return found

    def to_json(self) -> dict[str, Any]:
        """`scores`: one entry an encoder and split; `averages` as above."""
        rows = [
            {"encoder": name, "pooling": self.poolings.get(name)} | asdict(score)
            for name, row in self.scores.items()
            for score in row
        ]
        return {"scores": rows, "averages": self.averages()}

    def to_text(self) -> str:
        from evaluation.tables import score_table

        lines = ["Spearman × 100, all pairs of a task together", score_table(self.scores)]
        for average, values in self.averages().items():
            said = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
            lines.append(f"{average} (mean of {', '.join(AVERAGES[average])} test): {said}")
        poolings = ", ".join(f"{name} {pooling}" for name, pooling in self.poolings.items() if pooling)
        return "\n".join([*lines, f"pooling: {poolings}"] if poolings else lines)


def _test_scores(row: Sequence[Score], tasks: Sequence[str]) -> list[float]:
    found = {score.task: score.spearman for score in row if score.split == "test"}
    return [value for task in tasks if (value := found.get(task)) is not None]


def evaluate(
    models: Sequence[str],
    *,
    record: Record | None,
    tasks: str | None,
    split: str,
    changes: Sequence[str],
    corpus: str | None,
    word_counts: Path | None,
    data_dir: Path | None,
    root: Path,
) -> ScoreTable:
    """Score encoders.

    Args:
        models: names as `encoder.name`, exported folders, or `lexical`.
        record: a sweep, whose winner, untrained encoder, teacher and lexical floor come first; or None.
        tasks: comma-joined ids; None takes the sweep's own task, else `demo`.
        split: of every task; a task that has only one split is scored on that.
        changes: `encoder.KNOB=VALUE`, for each of `models`.
        corpus: comma-joined text files that the lexical floor is fitted on; None takes the sweep's own, if any.
        word_counts: word frequencies for the lexical floor.
        root: where sweeps are, for who names one as an encoder.
        data_dir: the STS data; None takes the sweep's own, else STSWEEP_DATA.

    Raises:
        Refused: nothing to score, a change that is none, nothing to fit the lexical floor on, no winner yet.
        evaluation.InputError, model.InputError, model.UnreachableError: a task or an encoder that cannot be loaded.
    """
    if not models and record is None:
        raise Refused([Problem("nothing to score: name an encoder, `lexical`, or --sweep NAME")], next="stsweep ls")
    ids = [task.strip() for task in (tasks or _own_task(record)).split(",") if task.strip()]
    if not ids:
        raise Refused(
            [Problem(f"{tasks!r} names no task; give some of {', '.join(TASKS)}", key="--tasks")],
            next="stsweep eval --help",
        )
    folder = data_dir or _own_data(record)
    distinct = sorted(dict.fromkeys(ids), key=TASKS.__contains__)  # unknown ones first: told before missing data
    pairs = [load_pairs(task, _split(task, split), folder) for task in distinct]
    files = [file.strip() for file in corpus.split(",")] if corpus else None
    for name in models:
        if (root / name / "sweep.json").exists() and not Path(name).exists():
            message = f"{name!r} is a sweep, not an encoder; give it as --sweep"
            raise Refused([Problem(message)], next=f"stsweep eval --sweep {argument(root / name)}")
    entries: Entries = _sweep_entries(record, files, word_counts) if record else {}
    entries |= {name: _entry(name, changes, files, word_counts) for name in models}

    from evaluation.score import score

    poolings = {name: entry.pooling for name, entry in entries.items()}
    return ScoreTable({name: score(entry.make(), pairs) for name, entry in entries.items()}, poolings)


def _own_data(record: Record | None) -> Path | None:
    if record is not None:
        return load_spec(record.folder / "spec.yaml").data_folder
    given = os.environ.get(DATA_VARIABLE)
    return Path(given) if given else None


def _own_task(record: Record | None) -> str:
    return str(record.about["objective"]).split()[0] if record else "demo"


def _split(task: str, split: str) -> str:
    """STS12 to 16 have a test split only."""
    known = list(TASKS[task].splits) if task in TASKS else []
    return known[0] if len(known) == 1 else split


def _entry(name: str, changes: Sequence[str], corpus: Sequence[str] | None, word_counts: Path | None) -> Entry:
    if name == LEXICAL:
        if not corpus and word_counts is None:
            raise Refused(
                [Problem("the lexical floor is fitted on training sentences or word counts, and neither was given")],
                next="stsweep eval lexical --corpus FILE, or --corpus demo, or --word-counts FILE",
            )
        return Entry(None, lambda: _lexical(corpus or (), word_counts))
    config = encoder_config(name, changes)
    if fault := find_fault(name):  # told before the encoders ahead of it are scored for minutes
        kind = Unreachable if is_absent(name) else Refused
        raise kind([Problem(fault + nearest(name, [LEXICAL]))], next="stsweep eval MODEL, a folder or package:NAME")
    return Entry(config.pooling, lambda: _load(config))


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


def _sweep_entries(record: Record, corpus: Sequence[str] | None, word_counts: Path | None) -> Entries:
    """The winner and, beside it, what it must be above."""
    from model.encoder import saved_config

    best = best_trial(record.trials())
    if best is None:
        raise Refused(
            [Problem(f"no trial of {record.name!r} has reached the top rung yet")],
            next=f"stsweep status {record.argument}",
        )
    config = TrainConfig.from_flat(best.config)
    folder = best.folder / "encoder"
    entries: Entries = {
        f"{record.name} {best.number:04d}": Entry(config.encoder.pooling, lambda: _load(saved_config(folder))),
        "untrained": Entry(config.encoder.pooling, lambda: _load(config.encoder)),
    }
    if config.teacher.name is not None:
        teacher = EncoderConfig(name=config.teacher.name, pooling=config.teacher.pooling)
        entries["teacher"] = Entry(teacher.pooling, lambda: _load(teacher))
    return entries | {LEXICAL: Entry(None, lambda: _lexical(corpus or config.data.corpus, word_counts))}


def _load(config: EncoderConfig) -> Encoder:
    from model.device import choose_device
    from model.encoder import load_encoder

    encoder: Encoder = load_encoder(config).to(choose_device(None))
    return encoder


def _lexical(corpus: Sequence[str], word_counts: Path | None) -> Encoder:
    from evaluation.lexical import LexicalEncoder, read_word_counts
    from model.corpus import read_corpus

    counts = read_word_counts(word_counts) if word_counts else None
    return LexicalEncoder.fit(read_corpus(corpus) if corpus else (), counts)
