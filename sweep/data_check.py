"""`stsweep data check`: what the splits to choose on, the training corpus and the test sets have in common.

Loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

from evaluation.errors import InputError
from evaluation.leaks import Texts, leaked, shared
from evaluation.pairs import Pairs
from evaluation.tasks import AVERAGES, TASKS, load_pairs
from model.corpus import find_corpus_faults, read_corpus
from sweep.errors import Problem, Refused, nearest
from sweep.leak_report import CorpusAudit, LeakReport, Shared, SplitAudit
from sweep.spec.sweep_spec import DATA_VARIABLE, SweepSpec, default_data_folder

_CHOSEN_ON = ("train", "dev")
_MIXED = ("sickr-mteb",)
"""Tasks that hold another task's dev and test together: found in them for certain, so audited as an objective only."""

Name = tuple[str, str]
"""Task and split."""


class _Split(NamedTuple):
    pairs: Texts
    sentences: Texts


def check_data(
    *,
    spec: SweepSpec | None = None,
    corpus: str | None = None,
    tasks: str | None = None,
    data_dir: Path | None = None,
    write_clean: Path | None = None,
) -> LeakReport:
    """Audit the task data, and a training corpus if there is one.

    Args:
        spec: its objective is judged and its `data.corpus` audited.
        corpus: comma-joined files or `demo`, instead of the spec's.
        tasks: comma-joined ids, all of which must be there; None takes those that are.
        data_dir: the task data; None takes the spec's, else STSWEEP_DATA.
        write_clean: a new file for the corpus without the sentences that have the words of a test sentence.

    Raises:
        Refused: unknown tasks, no data for what was asked for or for anything, an unusable corpus, a file that exists
            already; all at once.
    """
    files = list(spec.train.data.corpus) if spec else []
    if corpus is not None:
        files = _split_commas(corpus)
    asked = (
        [task for name in _split_commas(tasks) for task in AVERAGES.get(name, (name,))] if tasks is not None else None
    )
    objective = (spec.objective.task, spec.objective.split) if spec else None
    folder = data_dir or (spec.data_folder if spec else default_data_folder())
    selection, tests = _audited(TASKS if asked is None else asked, objective)

    loaded, missing = _load([*selection, *tests], folder)
    needed = [*(tests + selection if asked is not None else ()), *([objective] if objective else ())]
    problems = [
        *_task_problems(asked, tests),
        *_data_problems(loaded, missing, needed, folder),
        *_corpus_problems(files, corpus, write_clean),
    ]
    if problems:
        raise Refused(problems, next="stsweep data check --data-dir FOLDER; --tasks demo needs no folder")

    found = {task: loaded[task, split] for task, split in tests if (task, split) in loaded}
    everything = _together(found)
    selected = [_audit(" ".join(name), loaded[name], found, everything) for name in selection if name in loaded]
    return LeakReport(
        data_dir=str(folder) if folder else None,
        not_audited={reason: [" ".join(name) for name in names] for reason, names in missing.items()},
        objective=" ".join(objective) if objective else None,
        clean=_clean(selected, objective) if set(_audited(TASKS, None)[1]) <= loaded.keys() else (),
        selection=tuple(selected),
        tests=tuple(_audit_test(task, found) for task in found),
        corpus=_audit_corpus(files, found, write_clean) if files else None,
    )


def _split_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _audited(tasks: Iterable[str], objective: Name | None) -> tuple[list[Name], list[Name]]:
    """The splits to choose on and the test splits, in the order of `TASKS`."""
    names = [(task, split) for task in TASKS if task in tasks and task not in _MIXED for split in TASKS[task].splits]
    selection = [name for name in names if name[1] in _CHOSEN_ON]
    if objective is not None and objective not in selection:
        selection.append(objective)
    return selection, [name for name in names if name[1] == "test"]


def _load(names: Iterable[Name], folder: Path | None) -> tuple[dict[Name, _Split], dict[str, list[Name]]]:
    """The splits that can be read, and reason → those that cannot."""
    loaded: dict[Name, _Split] = {}
    missing: dict[str, list[Name]] = {}
    for task, split in names:
        if folder is None and TASKS[task].folder is not None:
            reason = f"no data: give --data-dir FOLDER, laid out as the SentEval archive, or set {DATA_VARIABLE}"
            missing.setdefault(reason, []).append((task, split))
            continue
        try:
            loaded[task, split] = _comparable(load_pairs(task, split, folder))
        except InputError as error:
            missing.setdefault(str(error), []).append((task, split))
    return loaded, missing


def _comparable(pairs: Pairs) -> _Split:
    return _Split(Texts.of_pairs(pairs), Texts.of_sentences(pairs.first + pairs.second))


def _task_problems(asked: Sequence[str] | None, tests: Sequence[Name]) -> Iterator[Problem]:
    if asked is None:
        return
    allowed = [task for task in TASKS if task not in _MIXED]
    unknown = [task for task in asked if task not in allowed]
    for task in unknown:
        message = f"{task!r} is no task that can be audited; give some of {', '.join(allowed)}"
        yield Problem(message + nearest(task, allowed), key="--tasks")
    if not tests and not unknown:
        yield Problem(f"no test split among {', '.join(asked) or 'no task'}; name a task that has one", key="--tasks")


def _data_problems(
    loaded: Mapping[Name, _Split], missing: Mapping[str, Sequence[Name]], needed: Sequence[Name], folder: Path | None
) -> Iterator[Problem]:
    """What was asked for and is not there; without anything asked, that nothing is there."""
    if missing and not needed and all(TASKS[task].folder is None for task, _ in loaded):
        if folder is None:
            yield from (Problem(reason, key="--data-dir") for reason in missing)
            return
        places = dict.fromkeys(task.folder for task in TASKS.values() if task.folder)
        yield Problem(f"{folder} holds the files of no task; looked for {', '.join(places)}", key="--data-dir")
    for reason, names in missing.items():
        if not set(names).isdisjoint(needed):
            yield Problem(reason, key="--data-dir")


def _corpus_problems(files: Sequence[str], corpus: str | None, write_clean: Path | None) -> Iterator[Problem]:
    if corpus is not None and not files:
        yield Problem(f"{corpus!r} names no file; give text files, comma-joined, or demo", key="--corpus")
    key = "data.corpus" if corpus is None else "--corpus"
    yield from (Problem(fault, key=key) for fault in find_corpus_faults(files))
    if write_clean is None:
        return
    if os.path.lexists(write_clean):
        yield Problem(f"{write_clean} exists already and is not overwritten; name a new file", key="--write-clean")
    if corpus is None and not files:
        yield Problem("no corpus to clean; give --corpus FILES, or a SPEC with data.corpus", key="--write-clean")


def _audit(name: str, own: _Split, tests: Mapping[str, _Split], together: _Split) -> SplitAudit:
    def against(test: _Split) -> Shared:
        return Shared(
            shared(own.pairs, test.pairs), shared(test.pairs, own.pairs), shared(own.sentences, test.sentences)
        )

    return SplitAudit(name, {test: against(split) for test, split in tests.items()}, against(together))


def _audit_test(task: str, tests: Mapping[str, _Split]) -> SplitAudit:
    others = {other: split for other, split in tests.items() if other != task}
    return _audit(task, tests[task], others, _together(others))


def _together(tests: Mapping[str, _Split]) -> _Split:
    none = Texts.of_sentences(())
    return _Split(
        reduce(add, (test.pairs for test in tests.values()), none),
        reduce(add, (test.sentences for test in tests.values()), none),
    )


def _clean(selected: Sequence[SplitAudit], objective: Name | None) -> tuple[str, ...]:
    """Splits of published data without a test's pair; those that come from the objective's data first."""
    free = [
        audit.split
        for audit in selected
        if not audit.together.pairs.same_text and TASKS[audit.split.split()[0]].folder is not None
    ]
    return tuple(sorted(free, key=lambda split: objective is not None and not split.startswith(objective[0])))


def _audit_corpus(files: Sequence[str], tests: Mapping[str, _Split], write_clean: Path | None) -> CorpusAudit:
    sentences = read_corpus(files)
    everything = Texts.of_sentences(text for test in tests.values() for (text,) in test.sentences.originals)
    found = leaked(sentences, everything)
    if write_clean is not None:
        clean_corpus(sentences, found, write_clean)
    among = Texts.of_sentences(found)
    return CorpusAudit(
        files=tuple(files),
        sentences=len(sentences),
        leaked=len(found),
        each={name: shared(test.sentences, among) for name, test in tests.items()},
        together=shared(everything, among),
        written=str(write_clean) if write_clean is not None else None,
    )


def clean_corpus(sentences: Iterable[str], found: Iterable[str], write: Path) -> None:
    """Write the sentences that are not among `found`, one a line, to a new file.

    Raises:
        Refused: no sentence would be left.
        FileExistsError: the file exists.
    """
    out = set(found)
    kept = [sentence for sentence in sentences if sentence not in out]
    if not kept:
        message = f"every one of the {len(out):,} sentences occurs in a test, so none would be left in {write}"
        raise Refused(
            [Problem(message, key="--write-clean")], next="stsweep data check --corpus FILES, of another corpus"
        )
    with write.open("x", encoding="utf-8", newline="\n") as file:
        try:
            file.writelines(f"{sentence}\n" for sentence in kept)
            file.flush()
        except OSError:  # a full disk: half a corpus would pass for a whole one
            write.unlink()
            raise
