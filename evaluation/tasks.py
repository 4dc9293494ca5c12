"""The STS tasks as declarations, and `load_pairs`. A new task is one more `Task` in `_DECLARED`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from evaluation.errors import InputError
from evaluation.pairs import Pairs
from evaluation.readers import Faults, InputAndGold, Row, Table
from evaluation.text import pair_key

_T = TypeVar("_T")

DEMO_FOLDER = Path(__file__).parent / "demo"
AVERAGES = {
    "paper5": ("sts12", "sts13", "sts14", "sts15", "stsb"),
    "sts7": ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr"),
}
"""Published averages over test splits: the paper's five tasks, and the seven of SimCSE. Never one for the other."""
HELD_OUT = ("test", "all")
"""Splits with test pairs in them: opened once, after the choice."""
ARCHIVE_FOLDERS = ("", "downstream", "data/downstream", "senteval")
"""Where the task folders lie below what people point at: the folder itself, SentEval's data folder, its checkout."""


class Part(Protocol):
    """A file, or a few that belong together, with scored pairs."""

    def read(self, folder: Path, faults: Faults) -> list[Row]:
        """The scored rows; what is wrong goes to `faults`."""
        ...


@dataclass(frozen=True)
class Task:
    """One STS task: what it is called and where its pairs are."""

    id: str
    splits: Mapping[str, tuple[Part, ...]]
    """Split → its parts, which are one list of pairs: the "all" setting of SimCSE."""
    folder: str | None
    """Its folder in the SentEval archive; None: the task ships with the project."""
    unlike: tuple[str, ...] = ()
    """Tasks whose test pairs are left out of this one, so that it can be chosen on and says nothing of them."""


def _year(year: int, *subsets: str) -> Task:
    folder = f"STS/STS{year}-en-test"
    parts = tuple(InputAndGold(folder, name) for name in subsets)
    return Task(f"sts{year}", {"test": parts}, folder)


def _stsb(split: str) -> tuple[Part, ...]:
    path = f"STS/STSBenchmark/sts-{split}.csv"
    return (Table(path, gold=4, first=5, second=6, columns=7, more_columns=True, subset=split),)


_SICK_FILES = {"train": "train", "dev": "trial", "test": "test_annotated"}


def _sick(split: str) -> tuple[Part, ...]:
    path = f"SICK/SICK_{_SICK_FILES[split]}.txt"
    return (Table(path, gold=3, first=1, second=2, columns=5, scale=(1.0, 5.0), header=True, subset=split),)


def _with_all(read: Callable[[str], tuple[Part, ...]]) -> dict[str, tuple[Part, ...]]:
    """Train, dev, test, and the three as the subsets of `all`, as SentEval takes STS-B and SICK-R."""
    splits = {split: read(split) for split in ("train", "dev", "test")}
    return splits | {"all": tuple(part for parts in splits.values() for part in parts)}


def _demo(split: str) -> tuple[Part, ...]:
    return (Table(f"{split}.tsv", gold=0, first=1, second=2, columns=3, subset="demo"),)


_DECLARED = (
    _year(12, "MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    _year(13, "FNWN", "OnWN", "headlines"),  # without SMT, whose sentences were never free to publish
    _year(14, "OnWN", "deft-forum", "deft-news", "headlines", "images", "tweet-news"),
    _year(15, "answers-forums", "answers-students", "belief", "headlines", "images"),
    _year(16, "answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
    Task("stsb", _with_all(_stsb), "STS/STSBenchmark"),
    Task("sickr", _with_all(_sick), "SICK"),
    # MTEB's SICK-R: all 9,927 rows, a third of which SentEval's protocol trains on.
    Task("sickr-mteb", {"test": _with_all(_sick)["all"]}, "SICK"),
    # 1,131 of the 1,500 pairs of STS-B dev occur again in STS12 to STS16: these are the other 369.
    Task("stsb-dev-clean", {"dev": _stsb("dev")}, "STS/STSBenchmark", unlike=AVERAGES["sts7"]),
    Task("demo", {split: _demo(split) for split in ("dev", "test")}, None),  # a demonstration, no benchmark
)


class Declared(Protocol):
    """A declaration with a name of its own."""

    @property
    def id(self) -> str: ...


_Declared = TypeVar("_Declared", bound=Declared)


def registry(tasks: Iterable[_Declared]) -> dict[str, _Declared]:
    """Id → declaration; two of one id are refused."""
    found: dict[str, _Declared] = {}
    for task in tasks:
        if task.id in found:
            raise ValueError(f"two tasks are declared as {task.id!r}")
        found[task.id] = task
    return found


TASKS: dict[str, Task] = registry(_DECLARED)


def split_of(task: str, split: str) -> str:
    """`split`, or the only one that a task has: STS12 to 16 have test alone, the clean one of STS-B dev."""
    known = list(TASKS[task].splits)
    return known[0] if len(known) == 1 else split


def load_pairs(task: str, split: str, data_dir: Path | None) -> Pairs:
    """The scored pairs of one split, all subsets joined in the order of the declaration.

    Args:
        task: an id of `TASKS`.
        split: one of the task's splits.
        data_dir: a folder laid out as the SentEval archive (`STS/`, `SICK/`); the demo task needs none.

    Raises:
        InputError: an unknown name, no data folder, or files missing or damaged; all faults of a split at once.
    """
    declared = known_name(task, TASKS, "task")
    parts = known_name(split, declared.splits, f"split of {task}")
    folder = DEMO_FOLDER if declared.folder is None else archive_folder(task, declared.folder, data_dir)
    faults = Faults()
    rows = [row for part in parts for row in part.read(folder, faults)]
    faults.raise_any(
        f"{task} {split} cannot be read as it is:",
        "Unpack the published files again; they are tab-separated, without quoting, one pair a line.",
    )
    if declared.unlike:
        known = _test_pairs(declared, data_dir)
        rows = [row for row in rows if pair_key(row.first, row.second) not in known]
    try:
        return Pairs(
            task=task,
            split=split,
            first=tuple(row.first for row in rows),
            second=tuple(row.second for row in rows),
            gold=np.array([row.gold for row in rows], dtype=np.float64),
            subset=tuple(row.subset for row in rows),
        )
    except InputError as error:
        raise InputError(f"{error}; read from {folder / (declared.folder or '')}") from error


def _test_pairs(task: Task, data_dir: Path | None) -> set[tuple[str, str]]:
    try:
        tests = [load_pairs(other, "test", data_dir) for other in task.unlike]
    except InputError as error:
        raise InputError(
            f"{task.id} leaves out what occurs in {', '.join(task.unlike)}, and so reads them: {error}"
        ) from error
    return {pair_key(*pair) for test in tests for pair in zip(test.first, test.second, strict=True)}


def known_name(name: str, known: Mapping[str, _T], kind: str) -> _T:
    """What is known under a name.

    Raises:
        InputError: nothing is; the nearest name and all allowed ones are told.
    """
    if name in known:
        return known[name]
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"unknown {kind}: {name!r}.{hint} Allowed: {', '.join(known)}")


def archive_folder(task: str, folder: str, data_dir: Path | None) -> Path:
    """Where below `data_dir` the archive lies that holds a task's folder.

    Raises:
        InputError: no data folder was given, or it does not hold that one.
    """
    if data_dir is None:
        raise InputError(
            f"task {task!r} needs its data: give the folder that holds {folder.split('/')[0]}/ (the SentEval archive) "
            "by --data-dir FOLDER or in STSWEEP_DATA; the task 'demo' needs none"
        )
    for below in ARCHIVE_FOLDERS:
        if (data_dir / below / folder).is_dir():
            return data_dir / below
    raise InputError(
        f"task {task!r}: there is no folder {data_dir / folder}; --data-dir or STSWEEP_DATA must name the folder that "
        f"holds {folder} as in the SentEval archive"
    )
