"""The transfer tasks of SentEval (Conneau and Kiela 2018) as declarations, and `load_labelled`.

A new task is one more `TransferTask` in `_DECLARED`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from evaluation.errors import InputError
from evaluation.labelled import Examples, Labelled
from evaluation.readers import Faults, clean, read_lines
from evaluation.tasks import archive_folder, known_name, registry

Example = tuple[tuple[str, ...], str]
"""Its texts and the name of its class."""


class LabelledFile(Protocol):
    """A file with examples."""

    def read(self, folder: Path, classes: Sequence[str], faults: Faults) -> list[Example]:
        """The examples whose class is one of `classes`; what is wrong with the others goes to `faults`."""
        ...


@dataclass(frozen=True)
class OneClass:
    """A Latin-1 file, one example of the same class a line.

    A blank line is an example whose text is empty: CR holds four and MPQA three, and the published numbers of examples
    count them.
    """

    path: str
    label: str

    def read(self, folder: Path, classes: Sequence[str], faults: Faults) -> list[Example]:
        """Every line."""
        return [((clean(line),), self.label) for line in read_lines(folder / self.path, faults, "latin-1") or ()]


@dataclass(frozen=True)
class LabelledTable:
    """A tab-separated UTF-8 file without quoting, one example a line. Columns count from 0."""

    path: str
    label: int
    texts: tuple[int, ...]
    columns: int
    header: bool = False

    def read(self, folder: Path, classes: Sequence[str], faults: Faults) -> list[Example]:
        """The lines that are in order."""
        path = folder / self.path
        examples: list[Example] = []
        for number, line in enumerate(read_lines(path, faults) or (), start=1):
            if self.header and number == 1:
                continue
            cells = [clean(cell) for cell in line.split("\t")]
            if len(cells) != self.columns:
                faults.add(path, number, f"{len(cells)} tab-separated column(s) where {self.columns} are needed")
                continue
            texts = tuple(cells[column] for column in self.texts)
            if not all(texts):
                faults.add(path, number, "a sentence is empty")
            elif _allowed(cells[self.label], classes, path, number, faults):
                examples.append((texts, cells[self.label]))
        return examples


@dataclass(frozen=True)
class CoarseAndFine:
    """A Latin-1 file of `COARSE:fine sentence` lines; the coarse label is the class."""

    path: str

    def read(self, folder: Path, classes: Sequence[str], faults: Faults) -> list[Example]:
        """The lines that are in order."""
        path = folder / self.path
        examples: list[Example] = []
        for number, line in enumerate(read_lines(path, faults, "latin-1") or (), start=1):
            labels, _, sentence = line.strip().partition(" ")
            coarse, colon, _ = labels.partition(":")
            if not colon or not sentence.strip():
                faults.add(path, number, f"{line!r} is not `COARSE:fine sentence`")
            elif _allowed(coarse, classes, path, number, faults):
                examples.append(((clean(sentence),), coarse))
        return examples


def _allowed(label: str, classes: Sequence[str], path: Path, line: int, faults: Faults) -> bool:
    if label not in classes:
        faults.add(path, line, f"label {label!r}; allowed is {', '.join(classes)}")
    return label in classes


@dataclass(frozen=True)
class TransferTask:
    """One transfer task: what it is called, its classes and where its examples are."""

    id: str
    folder: str
    """Its folder in the SentEval archive."""
    classes: tuple[str, ...]
    """In the order of SentEval's numbers 0, 1, …, which the order of the examples and so the folds depend on."""
    splits: Mapping[str, tuple[LabelledFile, ...]]
    """As in `Labelled`, and so is `positive`."""
    positive: str | None = None


def _two_files(task: str, one: OneClass, zero: OneClass) -> TransferTask:
    """SentEval reads the file of class 1 first."""
    return TransferTask(task, one.path.split("/")[0], (zero.label, one.label), {"train": (one, zero)})


def _sst(file: str) -> tuple[LabelledFile, ...]:
    return (LabelledTable(f"SST/binary/sentiment-{file}", label=1, texts=(0,), columns=2),)


def _mrpc(file: str) -> tuple[LabelledFile, ...]:
    return (LabelledTable(f"MRPC/msr_paraphrase_{file}.txt", label=0, texts=(3, 4), columns=5, header=True),)


_DECLARED = (
    _two_files("mr", OneClass("MR/rt-polarity.pos", "positive"), OneClass("MR/rt-polarity.neg", "negative")),
    _two_files("cr", OneClass("CR/custrev.pos", "positive"), OneClass("CR/custrev.neg", "negative")),
    _two_files("subj", OneClass("SUBJ/subj.objective", "objective"), OneClass("SUBJ/subj.subjective", "subjective")),
    _two_files("mpqa", OneClass("MPQA/mpqa.pos", "positive"), OneClass("MPQA/mpqa.neg", "negative")),
    TransferTask("sst2", "SST/binary", ("0", "1"), {split: _sst(split) for split in ("train", "dev", "test")}),
    TransferTask(
        "trec",
        "TREC",
        ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        {"train": (CoarseAndFine("TREC/train_5500.label"),), "test": (CoarseAndFine("TREC/TREC_10.label"),)},
    ),
    TransferTask("mrpc", "MRPC", ("0", "1"), {split: _mrpc(split) for split in ("train", "test")}, positive="1"),
)


TRANSFER: dict[str, TransferTask] = registry(_DECLARED)


def load_labelled(task: str, data_dir: Path | None) -> Labelled:
    """All splits of one transfer task, the examples in the order in which SentEval reads them.

    Args:
        task: an id of `TRANSFER`.
        data_dir: a folder laid out as the SentEval archive (`MR/`, `SST/binary/`, …).

    Raises:
        InputError: an unknown name, no data folder, files missing or damaged, or too few examples to learn from; all
            faults of a task at once.
    """
    declared = known_name(task, TRANSFER, "transfer task")
    folder = archive_folder(task, declared.folder, data_dir)
    faults = Faults()
    found = {
        split: [example for file in files for example in file.read(folder, declared.classes, faults)]
        for split, files in declared.splits.items()
    }
    faults.raise_any(f"{task} cannot be read as it is:", "Unpack the published files again.")
    number = {name: index for index, name in enumerate(declared.classes)}
    splits = {
        split: Examples(
            texts=tuple(texts for texts, _ in examples),
            labels=np.array([number[label] for _, label in examples], dtype=np.intp),
        )
        for split, examples in found.items()
    }
    try:
        return Labelled(task, declared.classes, splits, declared.positive)
    except InputError as error:
        raise InputError(f"{error}; read from {folder / declared.folder}") from error
