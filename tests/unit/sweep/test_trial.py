"""One trial in this process: real training of tiny encoders, `report` a function of the test's own."""

from __future__ import annotations

import gc
import itertools
import json
import math
import shutil
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from evaluation.tasks import load_pairs
from model.config import POOLING_DEPTH, TrainConfig
from model.encoder import Encoder, load_encoder, saved_config
from model.errors import InputError
from sweep.record import FLOOR, Row, RowLog
from sweep.trial import Job, run_trial
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
        assert said == {"rung": last.rung, "score": last.score, "rung_index": last.rung_index}

    run_trial(job(home), tmp_path, knobs(home), report)
    rows = RowLog(tmp_path).read()
    assert seen == [1, 2, 3]
    assert [(row.rung_index, row.rung, row.step, row.sentences) for row in rows] == [
        (0, 8, 2, 8),
        (1, 16, 4, 16),
        (2, 32, 8, 32),
    ]
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
    assert reports == [{"rung": RUNGS[0], "score": FLOOR, "rung_index": 0}]
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
    assert reports == [{"rung": BATCH, "score": FLOOR, "rung_index": 0}]
    assert "not finite" in (tmp_path / "error.txt").read_text()
    assert no_nan(tmp_path)


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
    assert [row.failure for row in RowLog(tmp_path).read()] == ["collapsed"]
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
    assert reports == [{"rung": RUNGS[0], "score": FLOOR, "rung_index": 0}]
    assert said in (tmp_path / "error.txt").read_text()
    assert no_nan(tmp_path)
    assert encoders() == []


def test_any_other_fault_is_raised_and_its_traceback_kept(home, tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt"):
        run(home, tmp_path, data__corpus=str(tmp_path / "gone.txt"))
    kept = (tmp_path / "error.txt").read_text()
    assert kept.startswith("Traceback")
    assert "gone.txt" in kept.splitlines()[-1]
    assert RowLog(tmp_path).read() == ()
    assert encoders() == []


@pytest.mark.parametrize("end", [SystemExit, RuntimeError])
def test_ending_inside_report_keeps_the_row_and_frees_the_encoder(home, tmp_path, end):
    """Ray ends a trial that its scheduler stopped by `SystemExit` from `report`; the actor lives on."""
    held: list[weakref.ref[Encoder]] = []

    def report(said: dict[str, Any]) -> None:
        if said["rung_index"] == 1:
            held.extend(weakref.ref(encoder) for encoder in encoders())
            raise end(0)

    gc.disable()  # the trial must not rely on a collection that comes by chance
    try:
        run_trial(job(home), tmp_path, knobs(home), report)
    except end:
        alive = [reference() is not None for reference in held]  # while the traceback still holds the trial's frames
    finally:
        gc.enable()
    assert alive == [False]
    assert [row.rung for row in RowLog(tmp_path).read()] == list(RUNGS[:2])
    assert (tmp_path / "error.txt").exists() == (end is RuntimeError)


def test_one_trial_after_another_leaves_nothing_and_scores_as_it_would_alone(home, tmp_path):
    ended = []
    for name, precision in (("a", "fp32"), ("b", "bf16"), ("c", "fp32")):
        (tmp_path / name).mkdir()
        run_trial(job(home, rungs=RUNGS[-1:]), tmp_path / name, knobs(home, precision=precision), lambda said: None)
        ended += [(row.score, row.loss) for row in RowLog(tmp_path / name).read()]
    assert ended[0] == ended[2] != ended[1]
    assert encoders() == []


def test_a_killed_run_goes_on_from_its_checkpoint_and_writes_no_row_twice(home, tmp_path):
    """Killed between the second row and its checkpoint: that rung is trained again, and its row is there already."""
    kept = job(home, keep_checkpoint=True)

    def die(said: dict[str, Any]) -> None:
        if said["rung_index"] == 1:
            raise SystemExit

    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    run_trial(kept, undisturbed, knobs(home), lambda said: None)
    with pytest.raises(SystemExit):
        run_trial(kept, disturbed, knobs(home), die)
    assert len(RowLog(disturbed).read()) == 2
    run_trial(kept, disturbed, knobs(home), lambda said: None)
    ended = [
        [(row.rung, row.step, row.score, row.loss) for row in RowLog(at).read()] for at in (undisturbed, disturbed)
    ]
    assert ended[0] == ended[1]
    assert [rung for rung, *_ in ended[0]] == list(RUNGS)


def test_a_run_that_failed_may_go_on_and_what_it_wrote_then_counts(home, tmp_path):
    """NaN in the weights after the second rung, as a broken machine would make it; the first checkpoint is whole."""
    kept = job(home, keep_checkpoint=True)
    checkpoint, whole = tmp_path / "checkpoint", tmp_path / "whole"

    def damage(said: dict[str, Any]) -> None:
        if said["rung_index"] == 1:
            shutil.copytree(checkpoint, whole)
            (encoder,) = encoders()
            next(encoder.parameters()).data.fill_(math.nan)

    run_trial(kept, tmp_path, knobs(home), damage)
    assert [row.failure for row in RowLog(tmp_path).read()] == [None, None, "diverged"]
    run_trial(kept, tmp_path, knobs(home), lambda said: None)  # the second checkpoint holds the NaN
    assert [row.failure for row in RowLog(tmp_path).read()][-1] == "diverged"
    shutil.rmtree(checkpoint)
    whole.rename(checkpoint)
    run_trial(kept, tmp_path, knobs(home), lambda said: None)
    scored = [row for row in RowLog(tmp_path).read() if row.failure is None]
    assert [row.rung for row in scored] == list(RUNGS)
    assert RowLog(tmp_path).read()[-1] == scored[-1]
    assert (tmp_path / "encoder").exists()
    assert not (tmp_path / "error.txt").exists()
    assert no_nan(tmp_path)


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


def test_what_a_killed_save_left_does_not_keep_the_encoder_from_being_saved(home, tmp_path):
    (tmp_path / ".encoder").mkdir()
    (tmp_path / ".encoder" / "model.safetensors").write_bytes(b"half")
    run(home, tmp_path)
    assert load_encoder(saved_config(tmp_path / "encoder")).width == 16
    assert not (tmp_path / ".encoder").exists()
