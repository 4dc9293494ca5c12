"""One trial in this process: real training of tiny encoders, `report` a function of the test's own."""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import shutil
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from evaluation.tasks import load_pairs
from model.checkpoint import load_checkpoint
from model.config import POOLING_DEPTH, TrainConfig
from model.encoder import Encoder, load_encoder, saved_config
from model.errors import InputError
from model.ranks import Ranks
from sweep.attempt import attempt
from sweep.breaks import Breaks
from sweep.deaths import deaths_of
from sweep.no_score import NoMemoryError
from sweep.trial import Job, run_trial
from sweep.trial_record import FLOOR, Row, RowLog, busy_seconds
from tests.tiny import tiny_encoder_folder

BATCH = 4
RUNGS = (2 * BATCH, 4 * BATCH, 8 * BATCH)
WORDS = ["a", "man", "woman", "child", "dog", "plays", "eats", "sees", "red", "old", "guitar", "house", "slowly"]


@pytest.fixture(autouse=True, scope="module")
def quiet_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, one thread, and what was imported so far out of the garbage collector's sight.

    A trial collects twice, each time a quarter of a second over all that torch and transformers keep for ever.
    """
    import model.training  # noqa: F401

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, a wider teacher, a collapsed encoder, a corpus, and STS pairs in the layout of SentEval's archive."""
    home = tmp_path_factory.mktemp("home")
    tiny_encoder_folder(home / "encoder", layers=2, width=16)
    tiny_encoder_folder(home / "wide", layers=2, width=32, seed=1)
    weights = tiny_encoder_folder(home / "collapsed", layers=2, width=16) / "model.safetensors"
    constant = {
        name: torch.full_like(tensor, 0.0 if name.endswith("weight") else 1.0) if "layer_norm" in name else tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(constant, weights, metadata={"format": "pt"})
    rng = np.random.default_rng(0)

    def sentence() -> str:
        return " ".join(rng.choice(WORDS, size=rng.integers(3, 9)))

    (home / "corpus.txt").write_text("".join(f"{number} {sentence()}\n" for number in range(18)))
    folder = home / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    rows = [f"main\tf\ty\t{n}\t{5 * rng.random():.3f}\t{sentence()}\t{sentence()}\n" for n in range(20)]
    (folder / "sts-dev.csv").write_text("".join(rows))
    return home


def job(home: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "rungs": RUNGS,
        "task": "stsb",
        "split": "dev",
        "metric": "spearman",
        "data_dir": home,
        "threads": 1,
    }
    return Job(**values | changes)


def knobs(home: Path, **changes: Any) -> dict[str, Any]:
    """A flat configuration; `optim__learning_rate=1` stands for `optim.learning_rate`."""
    values = {
        "encoder.name": str(home / "encoder"),
        "encoder.pooling": "avg_last_hidden",
        "data.corpus": str(home / "corpus.txt"),
        "optim.batch_size": BATCH,
        "optim.learning_rate": 1e-3,
        "budget.sentences": RUNGS[-1],
        "precision": "fp32",
    }
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    return TrainConfig.from_flat(values | changed).flatten()


def run(home: Path, folder: Path, **changes: Any) -> tuple[tuple[Row, ...], list[dict[str, Any]]]:
    """The rows that a trial left and what it reported."""
    reports: list[dict[str, Any]] = []
    run_trial(job(home), folder, knobs(home, **changes), reports.append)
    return RowLog(folder).read(), reports


def reported(row: Row) -> dict[str, Any]:
    names = ("rung", "score", "rung_index", "failure", "is_end", "busy_seconds")
    return {name: getattr(row, name) for name in names}


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The rows without what depends on time."""
    timed = {"train_seconds", "busy_seconds", "started", "time"}
    return [{k: v for k, v in asdict(row).items() if k not in timed} for row in RowLog(folder).read()]


def folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def encoders() -> list[Encoder]:
    return [thing for thing in gc.get_objects() if type(thing) is Encoder]


def no_nan(folder: Path) -> bool:
    """Whether every number that the trial left is finite, by a strict reader of JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    for line in (folder / "rows.jsonl").read_text().splitlines():
        assert all(math.isfinite(v) for v in json.loads(line, parse_constant=refuse).values() if isinstance(v, float))
    return True


def test_a_row_is_on_disk_before_each_report_and_says_the_same(home, tmp_path):
    seen = []

    def report(said: dict[str, Any]) -> None:
        last = RowLog(tmp_path).read()[-1]
        seen.append(len(RowLog(tmp_path).read()))
        assert said == reported(last)

    run_trial(job(home), tmp_path, knobs(home), report)
    rows = RowLog(tmp_path).read()
    assert seen == [1, 2, 3]
    assert [(row.rung_index, row.rung, row.step, row.sentences, row.is_end) for row in rows] == [
        (0, 8, 2, 8, False),
        (1, 16, 4, 16, False),
        (2, 32, 8, 32, True),
    ]
    assert '"rung": 8,' in (tmp_path / "rows.jsonl").read_text()
    assert all(row.failure is None and -100 < row.score <= 100 and row.loss > 0 for row in rows)
    assert all(earlier.busy_seconds < later.busy_seconds for earlier, later in itertools.pairwise(rows))
    assert all(row.train_seconds < row.busy_seconds <= row.time - row.started + 1e-3 for row in rows)
    assert not (tmp_path / "error.txt").exists()
    assert no_nan(tmp_path)


def test_the_encoder_saved_at_the_top_rung_is_the_one_that_was_scored(home, tmp_path):
    pairs = load_pairs("stsb", "dev", home)
    scored: list[np.ndarray] = []

    def report(said: dict[str, Any]) -> None:
        if said["rung"] < RUNGS[-1]:
            assert not (tmp_path / "encoder").exists()
            return
        (encoder,) = encoders()
        scored.append(encoder.encode(pairs.first))

    run_trial(job(home), tmp_path, knobs(home), report)
    loaded = load_encoder(saved_config(tmp_path / "encoder"))
    first, second = loaded.encode(pairs.first), loaded.encode(pairs.second)
    np.testing.assert_array_equal(first, scored[0])
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(first, second, strict=True)]
    assert RowLog(tmp_path).read()[-1].score == pytest.approx(100 * spearmanr(cosines, pairs.gold).statistic)


def test_only_the_top_rung_of_a_bf16_training_is_scored_in_fp32(home, tmp_path):
    rows, _ = run(home, tmp_path, precision="bf16")
    assert [row.precision for row in rows] == ["bf16"] * 3
    assert [row.score_precision for row in rows] == ["bf16", "bf16", "fp32"]


def test_the_time_in_report_is_not_busy_time(home, tmp_path):
    slept: list[float] = []

    def report(said: dict[str, Any]) -> None:
        begin = time.perf_counter()
        time.sleep(0.3 if said["rung_index"] == 0 else 0)
        slept.append(time.perf_counter() - begin)

    run_trial(job(home, rungs=RUNGS[::2]), tmp_path, knobs(home), report)
    first, last = RowLog(tmp_path).read()
    assert first.time - first.started - first.busy_seconds == pytest.approx(0, abs=0.05)
    assert last.time - last.started - last.busy_seconds == pytest.approx(slept[0], abs=0.05)


@pytest.mark.parametrize("rate", [1e30, 1e300])
def test_a_diverged_training_ends_with_the_floor_and_its_reason(home, tmp_path, rate):
    rows, reports = run(home, tmp_path, optim__learning_rate=rate)
    assert [(row.failure, row.score, row.rung, row.loss) for row in rows] == [("diverged", FLOOR, RUNGS[0], None)]
    assert reports == [reported(rows[0])]
    assert "diverged at step" in (tmp_path / "error.txt").read_text()
    assert no_nan(tmp_path)
    assert not (tmp_path / "encoder").exists()


def test_embeddings_that_are_not_finite_are_a_divergence_though_the_loss_was(home, tmp_path):
    """One step to the first rung: its loss is that of the weights before it."""
    reports: list[dict[str, Any]] = []
    one_step = job(home, rungs=(BATCH, RUNGS[-1]))
    run_trial(one_step, tmp_path, knobs(home, optim__learning_rate=1e30), reports.append)
    (row,) = RowLog(tmp_path).read()
    assert (row.failure, row.score, row.rung, row.step) == ("diverged", FLOOR, BATCH, 1)
    assert math.isfinite(row.loss)
    assert reports == [reported(row)]
    assert "not finite" in (tmp_path / "error.txt").read_text()
    assert no_nan(tmp_path)


def test_a_fault_of_the_accelerator_ends_the_process_and_leaves_what_it_said(tmp_path, monkeypatch):
    """Every later trial of that process would meet it again; a new process does not. Raised by hand: no GPU here."""

    def fails(job, folder, *_, **__):
        (folder / "error.txt").write_text("Traceback: an illegal memory access\n")
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr("sweep.trial.attempt", fails)
            run_trial(None, tmp_path, {}, print)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert deaths_of(tmp_path).said == "Traceback: an illegal memory access"
    assert not (tmp_path / "error.txt").exists(), "it would be taken for the trial's own end"


def test_a_trial_that_failed_notes_how_long_it_ran(home, tmp_path):
    begin = time.perf_counter()
    run_trial(job(home, data_dir=home / "gone"), tmp_path, knobs(home), print)
    noted = json.loads((tmp_path / "busy.json").read_text())["seconds"]
    assert 0 < noted < time.perf_counter() - begin
    assert busy_seconds(tmp_path, ()) == noted


def test_a_collapsed_encoder_ends_with_the_floor_and_its_reason(home, tmp_path):
    """All vectors are ones, and the learning rate is too small to change that in fp32."""
    collapsed = {"encoder__name": str(home / "collapsed"), "optim__learning_rate": 1e-20}
    rows, reports = run(home, tmp_path, **collapsed)
    assert [(row.failure, row.score, row.rung) for row in rows] == [("collapsed", FLOOR, RUNGS[0])]
    assert [each["score"] for each in reports] == [FLOOR]
    assert "same embedding" in (tmp_path / "error.txt").read_text()
    assert no_nan(tmp_path)


def test_a_collapse_that_shows_at_the_top_rung_saves_no_encoder(home, tmp_path):
    collapsed = {"encoder__name": str(home / "collapsed"), "optim__learning_rate": 1e-20}
    run_trial(job(home, rungs=RUNGS[-1:]), tmp_path, knobs(home, **collapsed), lambda said: None)
    assert [(row.failure, row.is_end) for row in RowLog(tmp_path).read()] == [("collapsed", False)]
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder__keep_layers": "0,2"}, "keep_layers"),
        ({"encoder__pooling": "avg_last4"}, "avg_last4"),
        (
            {"teacher__name": "wide", "loss__distillation_weight": 1.0, "loss__distillation": "cosine"},
            "widths",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_infeasible(home, tmp_path, changes, said):
    if "teacher__name" in changes:
        changes = changes | {"teacher__name": str(home / changes["teacher__name"])}
    rows, reports = run(home, tmp_path, **changes)
    assert [(row.failure, row.score, row.rung, row.step) for row in rows] == [("infeasible", FLOOR, RUNGS[0], 0)]
    assert rows[0].loss is None
    assert reports == [reported(rows[0])]
    assert said in (tmp_path / "error.txt").read_text()
    assert no_nan(tmp_path)
    assert encoders() == []


@pytest.mark.parametrize("runs", [attempt, run_trial])
def test_any_other_fault_leaves_its_traceback_and_is_not_told_to_ray_which_would_run_it_again(home, tmp_path, runs):
    raised = pytest.raises(InputError, match=r"gone\.txt") if runs is attempt else nullcontext()
    with raised:
        runs(job(home), tmp_path, knobs(home, data__corpus=str(tmp_path / "gone.txt")), print)
    kept = (tmp_path / "error.txt").read_text()
    assert kept.startswith("Traceback")
    assert "gone.txt" in kept.splitlines()[-1]
    assert RowLog(tmp_path).read() == ()
    assert encoders() == []


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_ending_inside_report_keeps_the_row_and_frees_the_encoder(home, tmp_path, end):
    """Ray ends a trial that its scheduler stopped by `SystemExit` from `report`; the actor lives on."""
    held: list[weakref.ref[Encoder]] = []

    def report(said: dict[str, Any]) -> None:
        if said["rung_index"] == 1:
            held.extend(weakref.ref(encoder) for encoder in encoders())
            raise end(0)

    gc.disable()  # the trial must not rely on a collection that comes by chance
    try:
        attempt(job(home), tmp_path, knobs(home), report)
    except end:
        alive = [reference() is not None for reference in held]  # while the traceback still holds the trial's frames
    finally:
        gc.enable()
    assert alive == [False]
    assert [row.rung for row in RowLog(tmp_path).read()] == list(RUNGS[:2])
    assert (tmp_path / "error.txt").exists() == (end is RuntimeError)


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_what_ray_ends_a_trial_with_passes(home, tmp_path, end):
    def report(said: dict[str, Any]) -> None:
        raise end(0)

    with pytest.raises(end):
        run_trial(job(home), tmp_path, knobs(home), report)


def test_the_first_fault_is_kept(home, tmp_path):
    """A divergence whose report fails: the report's fault is not why the trial ended."""

    def report(said: dict[str, Any]) -> None:
        raise RuntimeError("nobody listens")

    run_trial(job(home), tmp_path, knobs(home, optim__learning_rate=1e30), report)
    assert "diverged at step" in (tmp_path / "error.txt").read_text()


def test_main_memory_that_cannot_be_had_is_infeasible(home, tmp_path):
    """A vocabulary whose embeddings no address space holds: torch's allocator refuses at once."""
    shutil.copytree(home / "encoder", tmp_path / "huge")
    settings = tmp_path / "huge" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"vocab_size": 2**44}))
    huge = {"encoder__name": str(tmp_path / "huge"), "encoder__weights": "random"}
    rows, reports = run(home, tmp_path, **huge)
    assert [(row.failure, row.score) for row in rows] == [("infeasible", FLOOR)]
    assert reports == [reported(rows[0])]
    assert "allocate" in (tmp_path / "error.txt").read_text()


def test_one_trial_after_another_leaves_nothing_and_scores_as_it_would_alone(home, tmp_path):
    ended = []
    for name, precision in (("a", "fp32"), ("b", "bf16"), ("c", "fp32")):
        (tmp_path / name).mkdir()
        run_trial(job(home, rungs=RUNGS[-1:]), tmp_path / name, knobs(home, precision=precision), lambda said: None)
        ended += [(row.score, row.loss) for row in RowLog(tmp_path / name).read()]
    assert ended[0] == ended[2] != ended[1]
    assert encoders() == []


EVERY_STEP = {"checkpoint_seconds": 0.0}
"""Every checkpoint is too old at once."""
EVERY_RUNG = {"checkpoint_seconds": 60.0, "checkpoint_every_rung": True}


class Died(BaseException):
    """In place of a process's end: nothing of the trial may catch it."""


def die_at(index: int) -> Callable[[dict[str, Any]], None]:
    def report(said: dict[str, Any]) -> None:
        if said["rung_index"] == index:
            raise Died

    return report


@pytest.fixture(scope="module")
def undisturbed(home, tmp_path_factory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_trial(job(home), folder, knobs(home), lambda said: None)
    return timeless(folder)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("saves", [{"checkpoint_seconds": 60.0}, EVERY_STEP])
def test_a_trial_that_died_is_run_again_and_ends_as_an_undisturbed_one(home, tmp_path, undisturbed, saves, index):
    """It dies when its row is on disk and Tune has not heard: every rung is reported, none written twice."""
    reports: list[dict[str, Any]] = []
    with pytest.raises(Died):
        run_trial(job(home, **saves), tmp_path, knobs(home), die_at(index))
    assert len(RowLog(tmp_path).read()) == index + 1
    run_trial(job(home, **saves), tmp_path, knobs(home), reports.append)
    assert timeless(tmp_path) == undisturbed
    rows = RowLog(tmp_path).read()
    first = {"at its end": 2, "from the step before": index, "from the start": 0}
    case = "at its end" if index == 2 else "from the step before" if saves is EVERY_STEP else "from the start"
    assert reports == [reported(row) for row in rows[first[case] :]]
    busy = [row.busy_seconds for row in rows]
    assert busy == sorted(busy)
    assert len({row.started for row in rows}) == 1
    assert folders(tmp_path) == {"encoder"}


def test_a_trial_shorter_than_the_time_between_checkpoints_writes_none(home, tmp_path):
    with pytest.raises(Died):
        run_trial(job(home, checkpoint_seconds=60.0), tmp_path, knobs(home), die_at(1))
    assert folders(tmp_path) == set()


def test_without_checkpoints_none_is_written_and_none_read(home, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "manifest.json").write_text("none of ours")
    with pytest.raises(Died):
        run_trial(job(home), tmp_path, knobs(home), die_at(1))
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["manifest.json"]
    assert not (tmp_path / "note.txt").exists()


def test_an_old_checkpoint_is_replaced_between_two_rungs_too(home, tmp_path):
    found: list[int] = []

    def report(said: dict[str, Any]) -> None:
        if not said["is_end"]:
            found.append(load_checkpoint(tmp_path / "checkpoint")[1]["step"])

    run_trial(job(home, **EVERY_STEP), tmp_path, knobs(home), report)
    assert found == [1, 3]  # the rungs lie at steps 2 and 4


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_means_a_new_start_and_a_note(home, tmp_path, undisturbed, name):
    with pytest.raises(Died):
        run_trial(job(home, **EVERY_STEP), tmp_path, knobs(home), die_at(1))
    damaged = tmp_path / "checkpoint" / name
    damaged.write_bytes(damaged.read_bytes()[:-9])
    run_trial(job(home, **EVERY_STEP), tmp_path, knobs(home), lambda said: None)
    assert timeless(tmp_path) == undisturbed
    assert name in (tmp_path / "note.txt").read_text()
    assert not (tmp_path / "error.txt").exists()


def test_a_trial_whose_sweep_pauses_after_a_report_saves_and_ends_there(home, tmp_path, undisturbed):
    pause, reports = tmp_path / "pause", []
    paused = job(home, checkpoint_seconds=60.0, pause=pause)
    run_trial(paused, tmp_path, knobs(home), lambda said: pause.touch())
    assert timeless(tmp_path) == undisturbed[:1]
    assert folders(tmp_path) == {"checkpoint"}
    pause.unlink()
    run_trial(paused, tmp_path, knobs(home), reports.append)
    assert timeless(tmp_path) == undisturbed
    assert [said["rung_index"] for said in reports] == [1, 2]
    assert folders(tmp_path) == {"encoder"}


class Appears(type(Path())):  # type: ignore[misc]
    """A file that appears when it is looked for the fifth time."""

    def exists(self) -> bool:
        self.looks = getattr(self, "looks", 0) + 1
        return self.looks >= 5


def test_a_trial_whose_sweep_pauses_between_two_rungs_saves_and_ends_there(home, tmp_path, undisturbed, monkeypatch):
    """Looked for at the start and after every step: the fifth time after the fourth step."""
    monkeypatch.setattr("sweep.breaks._LOOK_SECONDS", 0.0)
    rare = job(home, checkpoint_seconds=60.0, rungs=RUNGS[-1:], pause=Appears(tmp_path / "pause"))
    reports: list[dict[str, Any]] = []
    run_trial(rare, tmp_path, knobs(home), reports.append)
    assert (RowLog(tmp_path).read(), reports) == ((), [])
    assert folders(tmp_path) == {"checkpoint"}
    assert load_checkpoint(tmp_path / "checkpoint")[1]["step"] == 4
    run_trial(job(home, checkpoint_seconds=60.0, rungs=RUNGS[-1:]), tmp_path, knobs(home), reports.append)
    (row,) = timeless(tmp_path)
    assert (row["score"], row["step"]) == (undisturbed[-1]["score"], 8)
    assert row["loss"] is not None
    assert len(reports) == 1


def test_a_pause_is_looked_for_once_a_second_or_at_once(tmp_path):
    breaks = Breaks(tmp_path / "pause", None)
    assert not breaks.paused()
    (tmp_path / "pause").touch()
    assert not breaks.paused()
    assert breaks.paused(at_once=True)
    (tmp_path / "pause").unlink()
    assert breaks.paused(), "a trial that has begun to end goes on doing so"
    assert breaks.are_due()


def test_the_age_of_a_checkpoint_is_in_seconds_of_training():
    breaks = Breaks(None, 0.05)
    assert not breaks.are_due()
    breaks.hold()
    time.sleep(0.06)
    breaks.go_on()
    assert not breaks.are_due()
    time.sleep(0.06)
    assert breaks.are_due()
    breaks.hold()
    breaks.saved()
    breaks.go_on()
    assert not breaks.are_due()


def test_a_trial_whose_sweep_pauses_already_does_nothing(home, tmp_path):
    (tmp_path / "pause").touch()
    run_trial(job(home, **EVERY_STEP, pause=tmp_path / "pause"), tmp_path, knobs(home), lambda said: None)
    assert {path.name for path in tmp_path.iterdir()} == {"pause"}


def test_a_pause_at_the_end_changes_nothing(home, tmp_path, undisturbed):
    def report(said: dict[str, Any]) -> None:
        if said["is_end"]:
            (tmp_path / "pause").touch()

    run_trial(job(home, **EVERY_STEP, pause=tmp_path / "pause"), tmp_path, knobs(home), report)
    assert timeless(tmp_path) == undisturbed
    assert folders(tmp_path) == {"encoder"}


def test_a_run_that_failed_may_go_on_and_what_it_wrote_then_counts(home, tmp_path):
    """NaN in the weights after the second rung, as a broken machine would make it; the first checkpoint is whole."""
    kept = job(home, **EVERY_RUNG)
    checkpoint, whole = tmp_path / "checkpoint", tmp_path / "whole"

    def damage(said: dict[str, Any]) -> None:
        if said["rung_index"] == 1:
            shutil.copytree(checkpoint, whole)
            (encoder,) = encoders()
            next(encoder.parameters()).data.fill_(math.nan)

    run_trial(kept, tmp_path, knobs(home), damage)
    assert [row.failure for row in RowLog(tmp_path).read()] == [None, None, "diverged"]
    run_trial(kept, tmp_path, knobs(home), lambda said: None)  # the second checkpoint holds the NaN
    assert [row.failure for row in RowLog(tmp_path).read()] == [None, None, "diverged"]
    shutil.rmtree(checkpoint)
    whole.rename(checkpoint)
    run_trial(kept, tmp_path, knobs(home), lambda said: None)
    scored = [row for row in RowLog(tmp_path).read() if row.failure is None]
    assert [row.rung for row in scored] == list(RUNGS)
    assert RowLog(tmp_path).read()[-1] == scored[-1]
    assert folders(tmp_path) == {"encoder", "checkpoint"}
    assert not (tmp_path / "error.txt").exists()
    assert no_nan(tmp_path)


def in_seconds(home: Path, *milestones: float, **changes: Any) -> Job:
    return job(home, axis="seconds", rungs=RUNGS[-1:], milestones=milestones, **changes)


def test_on_the_axis_of_seconds_the_last_milestone_of_a_step_has_a_row_and_then_the_end(home, tmp_path):
    reports: list[dict[str, Any]] = []
    run_trial(in_seconds(home, 1e-9, 2e-9, 1e9), tmp_path, knobs(home), reports.append)
    first, end = rows = RowLog(tmp_path).read()
    assert (first.rung_index, first.rung, first.step, first.is_end) == (1, 2e-9, 1, False)
    assert (end.rung_index, end.rung, end.step, end.is_end) == (2, end.train_seconds, 8, True)
    assert reports == [reported(row) for row in rows]


def test_a_trial_too_short_for_a_milestone_has_its_end(home, tmp_path):
    run_trial(in_seconds(home, 1e9), tmp_path, knobs(home), lambda said: None)
    (end,) = RowLog(tmp_path).read()
    assert (end.rung_index, end.rung, end.is_end) == (0, end.train_seconds, True)


def test_a_failure_on_the_axis_of_seconds_has_the_milestone_that_was_not_reached(home, tmp_path):
    run_trial(in_seconds(home, 50.0), tmp_path, knobs(home, optim__learning_rate=1e30), lambda said: None)
    (row,) = RowLog(tmp_path).read()
    assert (row.failure, row.rung_index, row.rung, row.is_end) == ("diverged", 0, 50.0, False)


def test_a_milestone_that_an_earlier_attempt_left_behind_is_neither_written_nor_reported(home, tmp_path):
    """Its first attempt passed two milestones in one step; now each step passes one, as on a faster machine."""
    with pytest.raises(Died):
        run_trial(in_seconds(home, 1e-9, 2e-9), tmp_path, knobs(home), die_at(1))
    reports: list[dict[str, Any]] = []
    run_trial(in_seconds(home, 1e-9, 1e9), tmp_path, knobs(home), reports.append)
    assert [row.rung_index for row in RowLog(tmp_path).read()] == [1, 2]
    assert [said["rung_index"] for said in reports] == [2]


@pytest.mark.parametrize("against", [None, "size", "latency"])
def test_the_second_objective_is_measured_at_the_end_when_it_is_asked(home, tmp_path, against):
    run_trial(job(home, against=against), tmp_path, knobs(home), lambda said: None)
    *rungs, end = RowLog(tmp_path).read()
    assert {(row.size_mb, row.latency_ms) for row in rungs} == {(None, None)}
    if against == "size":
        stored = load_file(tmp_path / "encoder" / "model.safetensors")
        assert end.size_mb == pytest.approx(sum(tensor.nbytes for tensor in stored.values()) / 1e6)
    if against == "latency":  # half of a hundred calls took the median or longer
        assert 0 < 50 * end.latency_ms / 1000 < end.busy_seconds - rungs[-1].busy_seconds
    assert (end.size_mb is None, end.latency_ms is None) == (against != "size", against != "latency")


def test_a_row_tells_alignment_uniformity_and_spread(home, tmp_path):
    rows, _ = run(home, tmp_path)
    for row in rows:
        assert row.alignment is not None
        assert row.alignment > 0
        assert row.uniformity is not None
        assert row.spread is not None
        assert row.uniformity < 0 < row.spread < 1
        assert row.poolings is None


def test_every_pooling_is_scored_beside_the_trials_own_which_alone_counts(home, tmp_path):
    """The saved encoder, scored with another pooling by scipy, one sentence at a time."""
    run_trial(job(home, every_pooling=True), tmp_path, knobs(home), lambda said: None)
    last = RowLog(tmp_path).read()[-1]
    assert last.poolings is not None
    assert set(last.poolings) == {name for name, depth in POOLING_DEPTH.items() if depth <= 2}
    assert last.poolings["avg_last_hidden"] == last.score
    config = saved_config(tmp_path / "encoder").model_copy(update={"pooling": "max_first_last"})
    encoder, pairs = load_encoder(config), load_pairs("stsb", "dev", home)
    cosines = []
    for texts in zip(pairs.first, pairs.second, strict=True):
        a, b = encoder.encode(texts)
        cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    assert last.poolings["max_first_last"] == pytest.approx(100 * spearmanr(cosines, pairs.gold).statistic, abs=0.5)


def test_what_killed_saves_left_is_gone_in_the_end(home, tmp_path):
    """An encoder half written, another written whole by an attempt that was killed before its row, a checkpoint."""
    for name in (".encoder", "encoder", ".checkpoint.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    run(home, tmp_path)
    assert load_encoder(saved_config(tmp_path / "encoder")).width == 16
    assert folders(tmp_path) == {"encoder"}


def test_a_node_that_lacks_the_trials_folder_says_so_in_a_sentence(home, tmp_path):
    gone = tmp_path / "trials" / "0003"
    with pytest.raises(FileNotFoundError) as raised:
        run_trial(job(home), gone, knobs(home), print)
    said = str(raised.value)
    assert socket.gethostname() in said
    assert str(gone) in said
    assert "does not share the sweep's storage" in said
    assert not gone.exists()


class Together(Ranks):
    """Ranks that are threads of this process, each with a folder of its own, as on several nodes."""

    def __init__(self, rank: int, barrier: threading.Barrier, box: list[Any]) -> None:
        super().__init__(rank, barrier.parties)
        self._barrier, self._box = barrier, box

    def from_first(self, value: Any) -> Any:
        if self.is_first:
            self._box[:] = [value]
        self._barrier.wait(10)
        said = self._box[0]
        self._barrier.wait(10)
        return said

    def number_of_first(self, number: float) -> float:
        return float(self.from_first(number))


def test_ranks_hear_from_the_first_what_had_no_memory(home, tmp_path):
    """Where the record is at a URI only the first has what the driver says of the trial."""
    barrier, box = threading.Barrier(2), []
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    (tmp_path / "0" / "no_memory.txt").write_text("killed for memory\n")

    def make(rank: int) -> str:
        with pytest.raises(NoMemoryError) as raised:
            attempt(job(home), tmp_path / str(rank), knobs(home), print, ranks=Together(rank, barrier, box))
        return str(raised.value)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(make, range(2))) == ["killed for memory"] * 2
