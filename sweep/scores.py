"""`stsweep eval`: encoders on STS and transfer tasks, how sure each score is, and which of two encoders is better."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.bootstrap import FEWEST_RESAMPLES, RESAMPLES
from evaluation.tasks import AVERAGES, TASKS, load_pairs, split_of
from evaluation.transfer import TRANSFER, load_labelled
from model.config import POOLING_DEPTH
from sweep.encoders import Entries, LexicalSource, named_entries, sweep_entries
from sweep.errors import Problem, Refused, nearest
from sweep.score_table import SURE, Row, ScoreTable
from sweep.spec.sweep_spec import default_data_folder, load_spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluation.bootstrap import Sample
    from evaluation.labelled import Labelled
    from evaluation.lexical import LexicalEncoder
    from evaluation.pairs import Pairs
    from model.encoder import Encoder
    from sweep.record import Record

TRANSFER_AVERAGE = "transfer"
GROUPS = AVERAGES | {TRANSFER_AVERAGE: tuple(TRANSFER)}
"""Name → the tasks that it stands for after `--tasks`, and whose test scores it is the mean of."""
ALL_POOLINGS = "all"
_MOST_WORKERS = 8
"""Processes of the transfer probe: each copies a fold."""


def evaluate(
    models: Sequence[str],
    *,
    record: Record | None,
    against: str | None,
    tasks: str | None,
    split: str,
    changes: Sequence[str],
    pooling: str | None,
    lexical: LexicalSource,
    data_dir: Path | None,
    root: Path,
    resamples: int = RESAMPLES,
    trust_remote_code: bool = False,
) -> ScoreTable:
    """Score encoders.

    Args:
        models: names as `encoder.name`, exported folders, or `lexical`.
        record: a sweep, whose winner, untrained encoder, teacher and lexical floor come first; or None.
        against: an encoder that each of the others is compared with, pair by pair; or None.
        tasks: comma-joined ids and groups; None takes the sweep's own task, else `demo`.
        split: of every STS task; a task that has only one split is scored on that.
        changes: `encoder.KNOB=VALUE`, for each of `models` and `against`.
        pooling: in place of each encoder's own, or `all` for every one from one forward pass; None: its own.
        lexical: what the lexical floor is fitted on; a sweep's own corpus where that names none.
        data_dir: the STS data; None takes the sweep's own, else STSWEEP_DATA.
        root: where sweeps are, for who names one as an encoder.
        resamples: of the bootstrap; 0 leaves the intervals out.
        trust_remote_code: run code that an encoder's own files bring.

    Raises:
        Refused: nothing to score, a task or a change that is none, nothing to fit the lexical floor on, no winner yet.
        evaluation.InputError, model.InputError, model.UnreachableError: a task or an encoder that cannot be loaded.
    """
    if not models and record is None:
        raise Refused([Problem("nothing to score: name an encoder, `lexical`, or --sweep NAME")], next="stsweep ls")
    ids = task_ids(_own_task(record) if tasks is None else tasks)
    _check_together(models, ids, against, pooling, resamples)
    folder = data_dir or _own_data(record)
    pairs = [load_pairs(task, split_of(task, split), folder) for task in ids if task in TASKS]
    labelled = [load_labelled(task, folder) for task in ids if task in TRANSFER]
    entries = sweep_entries(record, lexical, trust_remote_code=trust_remote_code) if record else {}
    others = [*models, *([against] if against and against not in entries else [])]
    if twice := [name for name in others if name in entries]:
        raise Refused(
            [Problem(f"the sweep brings {name!r} already", key="MODEL") for name in twice], next="the same without it"
        )
    entries |= named_entries(others, changes, lexical, root, trust_remote_code=trust_remote_code)
    rows = _rows(entries, pairs, labelled, pooling)
    return _table(rows, pairs, against, resamples)


def task_ids(tasks: str) -> list[str]:
    """The tasks of a comma-joined list of ids and groups, each once.

    Raises:
        Refused: none is named, or names that are unknown; all of them at once, each with the nearest.
    """
    named = [name.strip() for name in tasks.split(",") if name.strip()]
    known = [*TASKS, *TRANSFER, *GROUPS]
    problems = [
        Problem(f"unknown task: {name!r}{nearest(name, known)}", key="--tasks") for name in named if name not in known
    ]
    if not named:
        problems = [Problem(f"{tasks!r} names no task", key="--tasks")]
    if problems:
        raise Refused(problems, next=f"stsweep eval MODEL --tasks with some of {', '.join(known)}")
    return list(dict.fromkeys(task for name in named for task in GROUPS.get(name, (name,))))


def _check_together(
    models: Sequence[str], ids: Sequence[str], against: str | None, pooling: str | None, resamples: int
) -> None:
    problems = []
    if pooling is not None and pooling not in (*POOLING_DEPTH, ALL_POOLINGS):
        allowed = [ALL_POOLINGS, *POOLING_DEPTH]
        message = f"unknown pooling: {pooling!r}{nearest(pooling, allowed)}; allowed: {', '.join(allowed)}"
        problems.append(Problem(message, key="--pooling"))
    if pooling == ALL_POOLINGS and against is not None:
        problems.append(Problem("compares one pooling with one; name it by --pooling", key="--against"))
    if pooling == ALL_POOLINGS and any(task in TRANSFER for task in ids):
        message = "a transfer task trains thousands of classifiers for each pooling; name one pooling"
        problems.append(Problem(message, key="--pooling"))
    if resamples and resamples < FEWEST_RESAMPLES:
        message = f"{resamples} is not allowed; give 0, or {FEWEST_RESAMPLES} or more"
        problems.append(Problem(message, key="--resamples"))
    # The smallest p is 2 ÷ (resamples + 1), and Holm multiplies it by the number of tasks.
    fewest = math.ceil(2 * len(ids) / SURE)
    if against is not None and resamples < fewest:
        message = f"{resamples} resamples can show no difference on {len(ids)} task(s); give {fewest} or more"
        problems.append(Problem(message, key="--resamples"))
    if against in models:
        problems.append(Problem(f"{against!r} would be compared with itself", key="--against"))
    if problems:
        raise Refused(problems, next="stsweep eval A --against B --tasks sts7, or stsweep eval A --pooling all")


def _own_data(record: Record | None) -> Path | None:
    return load_spec(record.folder / "spec.yaml").data_folder if record else default_data_folder()


def _own_task(record: Record | None) -> str:
    """The sweep's, where that has a test split: else its winner would be scored on what it was chosen on."""
    task = str(record.about["objective"]).split()[0] if record else "demo"
    return task if "test" in TASKS[task].splits else "stsb"


def _rows(entries: Entries, pairs: Sequence[Pairs], labelled: Sequence[Labelled], pooling: str | None) -> list[Row]:
    from evaluation.probe import distinct_texts, probe_embeddings
    from evaluation.score import distinct_sentences, score_embeddings

    texts = list(dict.fromkeys([*distinct_sentences(pairs), *distinct_texts(labelled)]))
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)

    def rows_of(name: str, make: Callable[[], Encoder | LexicalEncoder]) -> list[Row]:
        print(f"{name}: encoding {len(texts):,} sentences", file=sys.stderr)
        found = _embeddings(make(), texts, pooling)
        rows = []
        for used, embeddings in found:
            named = name if len(found) == 1 else f"{used}" if len(entries) == 1 else f"{name} {used}"
            if labelled:
                print(f"{named}: fitting {', '.join(one.task for one in labelled)}", file=sys.stderr)
            scores = score_embeddings(embeddings, texts, pairs)
            transfer = probe_embeddings(embeddings, texts, labelled, workers=workers) if labelled else []
            rows.append(Row(named, used, scores, transfer))
        return rows

    return [row for name, make in entries.items() for row in rows_of(name, make)]


def _embeddings(
    encoder: Encoder | LexicalEncoder, texts: Sequence[str], pooling: str | None
) -> Sequence[tuple[str | None, NDArray[np.floating]]]:
    """Poolings and their vectors [texts, width]; None is what has no pooling."""
    from evaluation.protocol import embed
    from model.encoder import Encoder
    from model.pooling import fitting_poolings

    if not isinstance(encoder, Encoder):
        return [(None, embed(encoder, texts))]
    names = [pooling or encoder.pooling]
    if pooling == ALL_POOLINGS:
        names = fitting_poolings(encoder.transformer.config.num_hidden_layers)
    return list(encoder.encode_each(names, texts, cache_tokens=True).items())


def _table(rows: Sequence[Row], pairs: Sequence[Pairs], against: str | None, resamples: int) -> ScoreTable:
    from evaluation.bootstrap import intervals
    from evaluation.compare import differences

    samples = {row.encoder: _samples(row, pairs) for row in rows}
    if not resamples:
        return ScoreTable(rows, GROUPS)
    sure = {encoder: intervals(found, _averages(found), resamples=resamples) for encoder, found in samples.items()}
    compared = {}
    for row in rows if against else ():
        assert against is not None
        both = [name for name in samples[row.encoder] if name in samples[against]]
        if row.encoder != against and both:
            a, b = ({name: samples[encoder][name] for name in both} for encoder in (row.encoder, against))
            compared[row.encoder] = differences(a, b, _averages(a), resamples=resamples)
    return ScoreTable(rows, GROUPS, sure, against, compared, resamples)


def _samples(row: Row, pairs: Sequence[Pairs]) -> dict[str, Sample]:
    """Task and split → what the bootstrap draws from; without the tasks that have no score."""
    from evaluation.bootstrap import Sample, accuracy_of, spearman_of
    from evaluation.clusters import Items

    found = {}
    for score, part in zip(row.scores, pairs, strict=True):
        if score.similarity is not None:
            items = Items(tuple(zip(part.first, part.second, strict=True)), part.subset)
            found[score.name] = Sample(items, spearman_of(score.similarity, part.gold))
    for probed in row.transfer:
        if probed.correct is not None:
            items = Items(probed.texts, (probed.task,) * probed.examples)
            found[probed.task] = Sample(items, accuracy_of(probed.correct))
    return found


def _averages(found: Mapping[str, Sample]) -> dict[str, list[str]]:
    """The groups all of whose test scores are there: name → their names among the samples."""
    named = {group: [task if task in TRANSFER else f"{task} test" for task in tasks] for group, tasks in GROUPS.items()}
    return {group: names for group, names in named.items() if all(name in found for name in names)}
