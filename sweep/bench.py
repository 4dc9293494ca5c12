"""`stsweep bench`: size, speed, memory and score of encoders in fp32, bf16 and int8, side by side.

Every encoder in every precision has a fresh process, so that its peak of memory is its own. The processes of one
encoder live together and take turns, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from evaluation.tasks import TASKS, load_pairs, split_of
from model.corpus import DEMO, read_corpus
from model.source import find_fault
from sweep.bench_process import BenchProcess, Prepared, fresh_process
from sweep.bench_table import BenchRow, BenchTable, Conditions, Measured
from sweep.encoders import encoder_config
from sweep.errors import Problem, Refused, Unreachable, nearest
from sweep.scores import task_ids
from sweep.spec.check import is_absent
from sweep.spec.sweep_spec import default_data_folder

if TYPE_CHECKING:
    from evaluation.pairs import Pairs
    from model.bench import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
SENTENCES = 512
"""In a pass."""
PASSES = 3
CALLS = 50
"""With one sentence, after each pass: 150 in all."""
WARM_UP = 32
"""Sentences encoded before anything is measured, together and each alone."""
VERSIONS = ("torch", "transformers", "onnxruntime")


@dataclass
class _Turns:
    """One precision of one encoder: its process, what that has answered so far, or why it answers no more."""

    name: str
    process: BenchProcess
    device: str = ""
    seconds: list[float] = field(default_factory=list)
    singles_ms: list[float] = field(default_factory=list)
    measured: Measured | None = None
    failure: str | None = None

    def load(
        self, folder: Path, precision: Precision, threads: int, warm_up: Sequence[str], trust_remote_code: bool
    ) -> None:
        _say(f"{self.name}: loading")
        with self._or_failure():
            self.device = self.process.load(folder, precision, threads, trust_remote_code)
            self.process.pass_seconds(warm_up)
            self.process.single_ms(warm_up)

    def take(self, sentences: Sequence[str], singles: Sequence[str]) -> None:
        """A pass over `sentences`, and each of `singles` alone."""
        with self._or_failure():
            self.seconds.append(self.process.pass_seconds(sentences))
            self.singles_ms += self.process.single_ms(singles)
            _say(f"{self.name}: {len(sentences) / self.seconds[-1]:.0f} sentences/s")

    def finish(self, file_bytes: int, sentences: int, pairs: Sequence[Pairs]) -> None:
        with self._or_failure():
            memory = self.process.memory()  # before the score, whose sentences may be longer
            self.measured = Measured(
                device=self.device,
                file_bytes=file_bytes,
                sentences_per_second=sentences / median(self.seconds),
                latency_ms_median=median(self.singles_ms),
                latency_ms_p95=float(np.percentile(self.singles_ms, 95)),
                memory_bytes=memory.encoder,
                process_bytes=memory.process,
                scores=self.process.score(pairs),
            )

    @contextmanager
    def _or_failure(self) -> Iterator[None]:
        """The other encoders are measured all the same."""
        try:
            yield
        except (EOFError, ConnectionError):
            self.failure = "its process ended before it answered; was the memory enough?"
        except Exception as error:  # whatever a library raises in that process; the others are measured all the same
            self.failure = str(error).partition("\n")[0] or type(error).__name__
        if self.failure:
            _say(f"{self.name}: {self.failure}")


def bench(
    models: Sequence[str],
    *,
    changes: Sequence[str] = (),
    precisions: Sequence[str] = PRECISIONS,
    tasks: str | None = None,
    split: str = "test",
    data_dir: Path | None = None,
    threads: int | None = None,
    trust_remote_code: bool = False,
) -> BenchTable:
    """Measure encoders.

    Args:
        models: names as `encoder.name`; the first is what the others are compared with.
        changes: `encoder.KNOB=VALUE`, for each of `models`.
        precisions: some of `PRECISIONS`.
        tasks: comma-joined ids and groups of STS tasks that each encoder is scored on in each precision; None: `demo`.
        split: of every task; a task that has only one split is scored on that.
        data_dir: the STS data; None: STSWEEP_DATA.
        threads: that every encoder computes with; None: what torch takes by itself here.
        trust_remote_code: run code that an encoder's own files bring.

    Raises:
        Refused, Unreachable: no model, an unknown precision, no thread, a model that is not there; all at once.
        evaluation.InputError, model.InputError, model.UnreachableError: a task or an encoder that cannot be loaded.
    """
    names = list(dict.fromkeys(models))
    chosen = _checked(names, changes, precisions, threads, trust_remote_code)
    configs = {name: encoder_config(name, changes) for name in names}
    pairs = _pairs(tasks or DEMO, split, data_dir)
    corpus = read_corpus([DEMO])
    sentences = corpus[:: len(corpus) // SENTENCES][:SENTENCES]
    with TemporaryDirectory(prefix="stsweep-bench-") as scratch:
        folders = {name: Path(scratch) / str(number) for number, name in enumerate(names)}
        prepared: dict[str, Prepared] = {}
        for name, config in configs.items():  # all of them first: a mistake is told before minutes of measuring
            _say(f"{name}: writing {', '.join(chosen)}")
            with fresh_process() as process:
                prepared[name] = process.prepare(config, chosen, folders[name], trust_remote_code)
        threads = threads or prepared[names[0]].threads
        rows: list[BenchRow] = []
        for name, known in prepared.items():
            turns = _measure(name, known, folders[name], threads, sentences, pairs, trust_remote_code)
            for precision in chosen:
                turn = turns.get(precision)
                failure = turn.failure if turn else known.failures[precision]
                measured = turn.measured if turn else None
                rows.append(BenchRow(name, configs[name].pooling, precision, known.parameters, measured, failure))
    calls = PASSES * CALLS
    return BenchTable(
        rows, Conditions(threads, len(sentences), PASSES, calls, _versions(), _remarks(prepared[names[0]], chosen))
    )


def _measure(
    name: str,
    known: Prepared,
    folder: Path,
    threads: int,
    sentences: Sequence[str],
    pairs: Sequence[Pairs],
    trust_remote_code: bool,
) -> dict[Precision, _Turns]:
    """Every precision that could be written, each in its process, turn by turn."""
    with ExitStack() as stack:
        turns = {
            precision: _Turns(f"{name} {precision}", stack.enter_context(fresh_process()))
            for precision in known.file_bytes
        }
        for precision, turn in turns.items():
            turn.load(folder, precision, threads, sentences[:WARM_UP], trust_remote_code)
        for number in range(PASSES):
            for turn in turns.values():
                if turn.failure is None:
                    turn.take(sentences, sentences[number * CALLS : (number + 1) * CALLS])
        for precision, turn in turns.items():
            if turn.failure is None:
                turn.finish(known.file_bytes[precision], len(sentences), pairs)
    return turns


def _checked(
    names: Sequence[str],
    changes: Sequence[str],
    precisions: Sequence[str],
    threads: int | None,
    trust_remote_code: bool,
) -> tuple[Precision, ...]:
    """The precisions, fp32 first, when nothing is wrong with the rest either."""
    problems = [] if names else [Problem("nothing to measure: name an encoder")]
    for precision in precisions:
        if precision not in PRECISIONS:
            allowed = f"{nearest(precision, PRECISIONS)}; allowed: {', '.join(PRECISIONS)}"
            problems.append(Problem(f"{precision!r} is no precision{allowed}", key="--precisions"))
    if not precisions:
        problems.append(Problem(f"none given; allowed: {', '.join(PRECISIONS)}", key="--precisions"))
    if threads is not None and threads < 1:
        problems.append(Problem(f"{threads} is not allowed; give 1 or more", key="--threads"))
    with_weights = not any(change.replace(" ", "") == "encoder.weights=random" for change in changes)
    look = partial(find_fault, weights=with_weights, trust_remote_code=trust_remote_code)
    faults = {name: fault for name in names if (fault := look(name))}
    problems += [Problem(fault) for fault in faults.values()]
    if problems:
        only_absent = len(problems) == len(faults) and all(map(is_absent, faults))
        raise (Unreachable if only_absent else Refused)(problems, next="stsweep bench MODEL, a folder or package:NAME")
    return tuple(precision for precision in PRECISIONS if precision in precisions)


def _pairs(tasks: str, split: str, data_dir: Path | None) -> list[Pairs]:
    folder = data_dir or default_data_folder()
    ids = task_ids(tasks)
    if unscored := [task for task in ids if task not in TASKS]:
        problems = [Problem(f"{task}: encoders are scored on STS tasks here", key="--tasks") for task in unscored]
        raise Refused(problems, next=f"stsweep eval MODEL --tasks {','.join(unscored)}")
    return [load_pairs(task, split_of(task, split), folder) for task in ids]


def _remarks(known: Prepared, precisions: Sequence[Precision]) -> tuple[str, ...]:
    remarks = []
    if "bf16" in precisions and not known.fast_bf16:
        remarks.append("this device has no bf16 instructions: bf16 is emulated here, and faster where it has them")
    if "int8" in precisions and known.on_gpu:
        remarks.append("int8 runs on the processor, the others on the GPU")
    return tuple(remarks)


def _versions() -> dict[str, str]:
    found = {}
    for package in VERSIONS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
