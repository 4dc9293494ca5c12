"""What a spec asks of the world, before anything starts: files, models, processors; and what it will cost.

Loads no torch.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.errors import InputError as EvaluationInputError
from evaluation.tasks import load_pairs
from model.corpus import count_corpus
from model.errors import InputError, UnreachableError
from model.source import find_fault, locate
from sweep.advice import advice
from sweep.cluster import cluster_problem
from sweep.errors import Problem, Refused, Unreachable
from sweep.footprint import Disk, disk_of, disk_problem, upload_bytes
from sweep.forecast import expected_total, reaching
from sweep.object_store.root import refresh, uri_of
from sweep.placement import Ask
from sweep.resources import Cluster, ask_of, asks_of, cpus_here, slots
from sweep.root import argument, check_root
from sweep.spec.misfits import misfits, shapes_of, values_of
from sweep.spec.space import trial_count
from sweep.spec.sweep_spec import SweepSpec, milestones, rungs
from sweep.warm_start import find_earlier

_FEWEST = 2
"""Sentences in a batch: the least that `optim.batch_size` allows."""


@dataclass(frozen=True)
class RungPlan:
    """One rung: where it is, in sentences, and how many trials are expected there; None where that is not known."""

    sentences: int
    trials: float | None


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        rungs: Ascending; the last is the budget.
        milestones: Seconds of training at which trials are scored too, ascending; with the axis of seconds only.
        trials: How many trials.
        searched: The knobs that vary.
        expected_sentences: Sentences trained on in all if the scheduler stops as many as it is made to
            (`sweep.forecast`); None where that is not known beforehand.
        most_sentences: The same if nothing is stopped.
        corpus_sentences: Distinct sentences of the corpus.
        pairs: Scored pairs of the objective.
        layers: Encoder → transformer layers it has; None where its `config.json` is not on this disk.
        takes: What a trial takes, by the key that says so: `resources`, and each of its cases.
        at_once: Trials at once on this machine; None for a cluster.
        most_at_once: What the spec allows anywhere; None without a limit.
        disk: What the sweep's folder will hold.
        upload_bytes: What goes to the workers: the code.
        limits: Keys of `stop` that may end the sweep early.
        notes: What a person should know and is no mistake.
    """

    rungs: tuple[RungPlan, ...]
    milestones: tuple[float, ...]
    trials: int
    searched: tuple[str, ...]
    expected_sentences: int | None
    most_sentences: int
    corpus_sentences: int
    pairs: int
    layers: Mapping[str, int | None]
    takes: Mapping[str, Ask]
    at_once: int | None
    most_at_once: int | None
    disk: Disk
    upload_bytes: int
    limits: Mapping[str, float]
    notes: tuple[str, ...]


def check(
    spec: SweepSpec,
    *,
    address: str | None = None,
    root: Path | None = None,
    begun: Path | None = None,
    trust_remote_code: bool = False,
) -> Plan:
    """Plan the sweep, or say all that keeps it from running.

    Args:
        spec: A spec from `load_spec`.
        address: A Ray cluster, which should answer; its CPUs and GPUs are not known here and not checked.
        root: The folder of the sweeps, whose disk must hold this one; None: no disk is looked at.
        begun: The folder of a sweep that goes on. None: a new one, whose name should be free.
        trust_remote_code: Whether encoders may bring Python code that is run.

    Raises:
        Unreachable: only models are missing, or the cluster.
        Refused: anything else.
    """
    problems, notes = [*_constant(spec), *_precision(spec)], [*spec.left_out, *_idle_teacher(spec), *_leaking(spec)]
    corpus = _corpus(spec, problems)
    pairs = _pairs(spec, problems)
    missing = _models(spec, problems, trust_remote_code)
    if problem := cluster_problem(address):
        missing.append(problem)
    shapes = shapes_of(spec)
    problems += misfits(spec, shapes, notes)
    at_once = None if address else _at_once(spec, problems)
    trials = trial_count(spec)
    disk_root = None if root is not None and uri_of(root) else root  # nobody knows what a store has left
    disk = disk_of(spec, trials, at_once or spec.resources.concurrent, disk_root, begun)
    if disk_root is not None and (problem := disk_problem(disk, disk_root)):
        problems.append(problem)
    if root is not None and begun is None:
        _root(root, problems, missing)
    earlier = _warm_start(spec, root, problems) if root is not None and begun is None else ()
    if problems or missing:
        kind = Refused if problems else Unreachable
        raise kind([*problems, *missing], next="correct it, then: stsweep check SPEC")
    marks, budget = rungs(spec), spec.train.budget.sentences
    seconds = milestones(spec)
    there = (None,) if seconds and spec.scheduler.name != "none" else reaching(spec, trials, len(marks))
    expected = expected_total(marks, there)
    notes += [*earlier, *advice(spec, trials, there[-1]), *(_taken(spec, root) if begun is None else ())]
    return Plan(
        rungs=tuple(RungPlan(mark, count) for mark, count in zip(marks, there, strict=True)),
        milestones=seconds,
        trials=trials,
        searched=spec.searched,
        expected_sentences=None if expected is None else round(expected),
        most_sentences=trials * budget,
        corpus_sentences=corpus,
        pairs=pairs,
        layers={name: shapes[name].layers for name in values_of(spec, "encoder.name")},
        takes=asks_of(spec.resources),
        at_once=at_once,
        most_at_once=spec.resources.concurrent,
        disk=disk,
        upload_bytes=upload_bytes(),
        limits=_limits(spec),
        notes=tuple(notes),
    )


def _limits(spec: SweepSpec) -> dict[str, float]:
    given: dict[str, float] = spec.stop.model_dump(exclude_none=True)
    if spec.stop.plateau_trials is None:
        del given["plateau_gain"]  # its default says nothing alone
    return given


def _warm_start(spec: SweepSpec, root: Path, problems: list[Problem]) -> tuple[str, ...]:
    try:
        return find_earlier(spec, root).notes
    except Refused as refused:
        problems += refused.problems
        return ()


def _root(root: Path, problems: list[Problem], missing: list[Problem]) -> None:
    try:
        check_root(root)
    except Unreachable as fault:
        missing += fault.problems
    except Refused as refused:
        problems += refused.problems


def _taken(spec: SweepSpec, root: Path | None) -> Iterator[str]:
    if root is None:
        return
    refresh(root, spec.name)
    if os.path.lexists(root / spec.name):
        yield f"the name is taken: {argument(root / spec.name)} exists, so stsweep run needs another --name"


def _constant(spec: SweepSpec) -> Iterator[Problem]:
    if not spec.searched and spec.sampler.name != "grid" and trial_count(spec) > 1:
        message = f"nothing is searched, so all {spec.trials} trials would be the same; add a knob, or set trials to 1"
        yield Problem(message, key="search")


def _idle_teacher(spec: SweepSpec) -> Iterator[str]:
    weights = values_of(spec, "loss.distillation_weight")
    if spec.train.teacher.name is not None and not any(weights):
        yield "teacher.name is given and loss.distillation_weight is 0: the teacher is scored, and nothing is distilled"


def _leaking(spec: SweepSpec) -> Iterator[str]:
    if (spec.objective.task, spec.objective.split) == ("stsb", "dev"):
        yield (
            "1,131 of the 1,500 pairs of STS-B dev occur in STS12 to STS16 too; to choose on the other 369: "
            "objective.task=stsb-dev-clean (stsweep data check SPEC)"
        )


def _precision(spec: SweepSpec) -> Iterator[Problem]:
    knobs = spec.train.flatten() | {"precision": "fp16"}
    if "fp16" in values_of(spec, "precision") and ask_of(spec.resources, knobs).gpus == 0:
        yield Problem(
            "fp16 needs a GPU and a trial asks none; give auto, fp32 or bf16, or resources.gpus_per_worker",
            key="precision",
        )


def _corpus(spec: SweepSpec, problems: list[Problem]) -> int:
    paths = spec.train.data.corpus
    count, faults = count_corpus(paths)
    if faults:
        problems += [Problem(fault, key="data.corpus") for fault in faults]
        return 0
    largest = max(values_of(spec, "optim.batch_size"))
    if count < _FEWEST:
        message = f"{count} distinct sentence is too few; a batch takes at least {_FEWEST}, so give more sentences"
        problems.append(Problem(message, key="data.corpus"))
    elif largest > count:
        message = f"a batch of {largest} is more than the corpus, {count} distinct sentences; give at most {count}"
        problems.append(Problem(message, key="optim.batch_size"))
    return count


def _pairs(spec: SweepSpec, problems: list[Problem]) -> int:
    try:
        return len(load_pairs(spec.objective.task, spec.objective.split, spec.data_folder).gold)
    except EvaluationInputError as error:
        problems.append(Problem(str(error), key="objective"))
        return 0


def _models(spec: SweepSpec, problems: list[Problem], trust_remote_code: bool) -> list[Problem]:
    """The models that are not there; one that is there and damaged is added to `problems`."""
    missing: list[Problem] = []
    loads_weights = "pretrained" in values_of(spec, "encoder.weights")
    for knob in ("encoder.name", "teacher.name"):
        for name in values_of(spec, knob):
            if name is None:
                continue
            with_weights = loads_weights or knob == "teacher.name"
            if fault := find_fault(name, weights=with_weights, trust_remote_code=trust_remote_code):
                (missing if is_absent(name) else problems).append(Problem(fault, key=knob))
    return missing


def is_absent(name: str) -> bool:
    """Whether a model that cannot be loaded is not there at all; else it is there and damaged."""
    try:
        return isinstance(locate(name), str)  # a Hub id that is not in the cache
    except UnreachableError:
        return True
    except InputError:
        return False


def _at_once(spec: SweepSpec, problems: list[Problem]) -> int | None:
    asks_gpu = any(ask.gpus for ask in asks_of(spec.resources).values())
    try:
        return slots(spec.resources, Cluster.here(cpus_here(), _count_gpus() if asks_gpu else 0))
    except Refused as refused:
        problems += refused.problems
        return None


def _count_gpus() -> int:
    """GPUs of this machine that the process may see; 0 without a driver that answers within 5 s."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    there = sum(line.startswith("GPU ") for line in listed.splitlines())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, len([name for name in visible.split(",") if name.strip()]))
