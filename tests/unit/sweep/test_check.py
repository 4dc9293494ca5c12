"""What `check` plans, and what it finds missing before anything starts."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from model.config import TrainConfig
from sweep.errors import Exit, Refused, Unreachable
from sweep.forecast import reaching
from sweep.spec.check import check
from sweep.spec.sweep_spec import SweepSpec, load_spec
from tests.unit.sweep.control_store import control_store


def encoder_folder(folder: Path, layers: int, width: int) -> Path:
    """As much of an encoder as can be judged without loading it."""
    folder.mkdir()
    config = {"model_type": "distilbert", "n_layers": layers, "dim": width}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "vocab.txt").write_text("[UNK]\n")
    return folder


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus of 40 distinct sentences, STS-B dev, a six-layer student and a wider teacher."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("STSWEEP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    encoder_folder(tmp_path / "student", layers=6, width=32)
    encoder_folder(tmp_path / "teacher", layers=12, width=128)
    (tmp_path / "corpus.txt").write_text("".join(f"sentence {number % 40}\n" for number in range(80)))
    benchmark = tmp_path / "data" / "STS" / "STSBenchmark"
    benchmark.mkdir(parents=True)
    row = "main-captions\tMSRvid\t2012test\t{}\t{}\tone {}\ttwo {}\n"
    (benchmark / "sts-dev.csv").write_text("".join(row.format(n, n % 5, n, n) for n in range(12)))
    return tmp_path


def spec_of(world: Path, *overrides: str, search: str = "{loss.temperature: {low: 0.01, high: 0.1}}") -> SweepSpec:
    path = world / "sweep.yaml"
    path.write_text(
        "name: s\ntrials: 16\ndata_dir: data\n"
        "train:\n  encoder: {name: student}\n  data: {corpus: corpus.txt}\n"
        "  optim: {batch_size: 8}\n  budget: {sentences: 1600}\n"
        f"search: {search}\nscheduler: {{name: asha, grace: 100, reduction_factor: 4}}\n"
    )
    return load_spec(path, overrides)


def refused(spec: SweepSpec) -> Refused:
    with pytest.raises(Refused) as refusal:
        check(spec)
    return refusal.value


def test_the_plan_says_rungs_trials_and_cost(world: Path) -> None:
    plan = check(spec_of(world))
    assert [(rung.sentences, rung.trials) for rung in plan.rungs] == list(
        zip((100, 400, 1600), reaching(spec_of(world), 16, 3), strict=True)
    )
    assert plan.trials == 16
    _, second, last = (rung.trials or 0 for rung in plan.rungs)
    assert plan.expected_sentences == round(16 * 100 + second * 300 + last * 1200)
    assert plan.most_sentences == 16 * 1600
    assert (plan.corpus_sentences, plan.pairs) == (40, 12)
    assert plan.layers == {str(world / "student"): 6}
    assert plan.at_once == os.cpu_count()
    (note,) = plan.notes  # of STS-B dev's leak
    assert "objective.task=stsb-dev-clean" in note


def test_the_plan_says_what_is_searched_and_what_set_took_out(world: Path) -> None:
    search = (
        "{encoder.pooling: {choices: [cls, avg_last2]}, optim.weight_decay: {low: 0, high: 0.5}, "
        "loss.temperature: {low: 0.01, high: 0.1, when: {encoder.pooling: cls}}}"
    )
    assert check(spec_of(world, search=search)).searched == (
        "encoder.pooling",
        "optim.weight_decay",
        "loss.temperature",
    )
    plan = check(spec_of(world, "encoder.pooling=avg_last2", search=search))
    assert plan.searched == ("optim.weight_decay",)
    first, second, *_ = plan.notes
    assert first.startswith("encoder.pooling is not searched") and "loss.temperature is left out" in second


def test_hyperband_median_and_seconds_are_planned_as_far_as_they_are_known(world: Path) -> None:
    both = check(spec_of(world, "scheduler.name=hyperband", "scheduler.brackets=2"))
    first, second, last = (rung.trials for rung in both.rungs)
    assert first == 16 and second is not None and last is not None
    alone = check(spec_of(world)).rungs
    assert (alone[1].trials or 16) < second < 16 and (alone[2].trials or 16) < last < second, "the later stops later"
    median = check(spec_of(world, "scheduler.name=median"))
    assert [rung.trials for rung in median.rungs] == [16, None, None]
    assert (median.expected_sentences, median.most_sentences) == (None, 16 * 1600)
    seconds = check(spec_of(world, "scheduler.axis=seconds"))
    assert seconds.milestones[:3] == (100, 400, 1600) and seconds.expected_sentences is None
    assert [rung.sentences for rung in seconds.rungs] == [1600]


def test_a_search_of_fewer_points_than_trials_is_a_note(world: Path) -> None:
    search = "{optim.batch_size: {choices: [8, 16, 32]}}"
    assert any(
        "16, are more than the points of the search, 3" in note for note in check(spec_of(world, search=search)).notes
    )
    assert not any("more than" in note for note in check(spec_of(world, "trials=3", search=search)).notes)


def test_a_sweep_that_its_disk_cannot_hold_is_refused(world: Path) -> None:
    root = world / "sweeps"
    assert check(spec_of(world), root=root).disk.free is not None
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    with (world / "student" / "model.safetensors").open("wb") as file:  # a terabyte, all of it a hole
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**40)
    assert shutil.disk_usage(world).free < 5 * 2**40, "this test needs a smaller disk"
    with pytest.raises(Refused, match="may hold") as refusal:
        check(spec_of(world), root=root)
    assert [problem.key for problem in refusal.value.problems] == ["--root"]
    assert not root.exists()
    check(spec_of(world))  # nobody said where


def test_what_may_end_the_sweep_early_is_in_the_plan(world: Path) -> None:
    assert check(spec_of(world)).limits == {}
    limits = check(spec_of(world, "stop.wall_hours=2", "stop.plateau_trials=8")).limits
    assert limits == {"wall_hours": 2, "plateau_trials": 8, "plateau_gain": 0.1}


def test_a_name_that_is_taken_is_a_note(world: Path) -> None:
    spec = spec_of(world)
    assert not any("taken" in note for note in check(spec, root=world / "sweeps").notes)
    (world / "sweeps" / "s").mkdir(parents=True)
    assert any("taken" in note for note in check(spec, root=world / "sweeps").notes)


def test_a_check_takes_less_than_two_seconds(world: Path) -> None:
    spec = spec_of(world)
    begin = time.perf_counter()
    check(spec)
    assert time.perf_counter() - begin < 2


def test_a_corpus_is_read_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or read_bytes(path))
    assert check(spec_of(world)).corpus_sentences == 40
    assert read.count("corpus.txt") == 1


def test_the_points_of_a_grid_are_not_each_made_a_configuration(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    replace = TrainConfig.replace
    monkeypatch.setattr(TrainConfig, "replace", lambda config, knobs: made.append(knobs) or replace(config, knobs))
    tens = {
        "loss.temperature": [0.01 * k for k in range(1, 11)],
        "views.rate": [0.05 * k for k in range(1, 11)],
        "loss.contrastive_weight": [0.1, 0.2],
    }
    spec_of(world, search=json.dumps({knob: {"choices": values} for knob, values in tens.items()}))
    path = world / "sweep.yaml"
    path.write_text(path.read_text().replace("trials: 16", "sampler: {name: grid}"))
    made.clear()
    assert check(load_spec(path)).trials == 200
    assert len(made) == 2, "one for each value that a rule over several knobs reads"


def test_all_that_is_missing_is_told_at_once(world: Path) -> None:
    (world / "data" / "STS" / "STSBenchmark" / "sts-dev.csv").unlink()
    spec = spec_of(
        world,
        "data.corpus=corpus.txt,none.txt",
        "encoder.keep_layers=0,6",
        "resources.cpus_per_worker=4096",
        "teacher.name=some/teacher",
        "precision=fp16",
    )
    refusal = refused(spec)
    assert [problem.key for problem in refusal.problems] == [
        "precision",
        "data.corpus",
        "objective",
        "encoder.keep_layers",
        "resources.cpus_per_worker",
        "teacher.name",
    ]
    assert refusal.exit_code is Exit.REFUSED, "not only the model is missing"
    assert "stsweep check" in str(refusal)


def test_a_model_that_cannot_be_had_is_unreachable(world: Path) -> None:
    with pytest.raises(Unreachable, match="some/model") as unreachable:
        check(spec_of(world, "encoder.name=some/model"))
    assert int(unreachable.value.exit_code) == 3
    with pytest.raises(Unreachable, match="other/model"):
        check(spec_of(world, search="{encoder.name: {choices: [student, other/model]}}"))


@pytest.mark.parametrize("search", ["{optim.batch_size: {low: 8, high: 41}}", "{optim.batch_size: {choices: [8, 41]}}"])
def test_the_largest_batch_must_fit_the_distinct_sentences_of_the_corpus(world: Path, search: str) -> None:
    assert "batch of 41" in str(refused(spec_of(world, search=search)))
    check(spec_of(world, search=search.replace("41", "40")))


def test_layers_that_the_encoder_lacks_are_refused(world: Path) -> None:
    assert "give 0 to 5, or -6 to -1" in str(refused(spec_of(world, "encoder.keep_layers=0,6")))
    assert "one layer twice" in str(refused(spec_of(world, "encoder.keep_layers=5,-1")))
    check(spec_of(world, "encoder.keep_layers=0,-1"))


def test_a_pooling_deeper_than_the_student_is_refused(world: Path) -> None:
    said = str(refused(spec_of(world, "encoder.keep_layers=0,2,5", "encoder.pooling=avg_last4")))
    assert "avg_last4 needs 4 layers and the encoder has 3" in said
    check(spec_of(world, "encoder.keep_layers=0,2,4,5", "encoder.pooling=avg_last4"))


def test_a_choice_that_works_only_with_some_others_is_a_note_and_in_a_grid_a_mistake(world: Path) -> None:
    search = "{encoder.keep_layers: {choices: [[0, 5], null]}, encoder.pooling: {choices: [cls, max_last4]}}"
    spec = spec_of(world, "trials=4", "sampler.name=random", search=search)
    notes = [note for note in check(spec).notes if "stsb-dev-clean" not in note]
    assert len(notes) == 1 and "1 of 4" in notes[0] and "max_last4" in notes[0]
    path = world / "sweep.yaml"
    path.write_text(path.read_text().replace("trials: 16", "sampler: {name: grid}"))
    assert "max_last4 needs 4" in str(refused(load_spec(path)))


def test_what_a_conditional_knob_is_elsewhere_is_no_value_of_its_own(world: Path) -> None:
    asked = "choices: [cls, max_last4], when: {optim.batch_size: 8}"
    search = f"{{optim.batch_size: {{choices: [4, 8]}}, encoder.pooling: {{{asked}}}}}"
    check(spec_of(world, search=search))
    few = "encoder.keep_layers=0,5"
    problems = refused(spec_of(world, few, search=search.replace("cls, ", ""))).problems
    assert [problem.key for problem in problems] == ["encoder.pooling"], "where it is asked it never works"


def test_a_sweep_that_goes_on_has_the_room_that_it_takes_already(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(world, search="{loss.temperature: {low: 0.01, high: 0.1}}")
    disk = check(spec, root=world / "sweeps").disk
    begun = world / "sweeps" / "s"
    begun.mkdir(parents=True)
    (begun / "weights").write_bytes(bytes(5000))
    assert disk.peak is not None and disk.peak > 5000
    monkeypatch.setattr("sweep.footprint._free", lambda root: disk.peak - 5000)
    check(spec, root=world / "sweeps", begun=begun)
    with pytest.raises(Refused, match="free"):
        check(spec, root=world / "sweeps")


def test_a_choice_that_never_works_is_refused(world: Path) -> None:
    search = "{encoder.keep_layers: {choices: [[0, 5], [1, 3]]}, encoder.pooling: {choices: [cls, max_last4]}}"
    problems = refused(spec_of(world, search=search)).problems
    assert [problem.key for problem in problems] == ["encoder.pooling"]


def test_a_length_above_the_positions_of_every_encoder_is_refused_and_above_those_of_some_a_note(world: Path) -> None:
    for name, positions in (("student", 64), ("teacher", 128)):
        path = world / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": positions}))
    check(spec_of(world, "encoder.max_length=64"))
    (problem,) = refused(spec_of(world, "encoder.max_length=65")).problems
    assert problem.key == "encoder.max_length" and "65 tokens is more" in problem.message
    assert problem.message.endswith("/student takes, 64; give at most 64")
    for given in ("{low: 16, high: 100}", "{choices: [32, 100]}"):
        search = f"{{encoder.max_length: {given}}}"
        assert [problem.key for problem in refused(spec_of(world, search=search)).problems] == ["encoder.max_length"]
        both = f"{{encoder.max_length: {given}, encoder.name: {{choices: [student, teacher]}}}}"
        plan = check(spec_of(world, "trials=2", "scheduler.name=none", search=both))
        assert any("1 of 4 combinations cannot run" in note and "give at most 64" in note for note in plan.notes)


def test_cosine_distillation_needs_equal_widths(world: Path) -> None:
    distilling = ("loss.distillation_weight=1", "teacher.name=teacher")
    said = str(refused(spec_of(world, *distilling)))
    assert "32" in said and "128" in said and "similarity" in said
    check(spec_of(world, *distilling, "loss.distillation=similarity"))
    check(spec_of(world, *distilling, "encoder.pooling=concat_last4"))
    check(spec_of(world, "teacher.name=teacher"))


def test_equal_trials_are_refused(world: Path) -> None:
    assert "nothing is searched" in str(refused(spec_of(world, search="{}")))
    check(spec_of(world, "trials=1", search="{}"))


def test_gpus_are_counted_by_the_driver_and_the_visible_ones_only(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = world / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: One (UUID: a)'\necho 'GPU 1: Two (UUID: b)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    check(spec_of(world, "resources.gpus_per_worker=2"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "asks 2 GPUs and there is 1" in str(refused(spec_of(world, "resources.gpus_per_worker=2")))
    monkeypatch.setenv("PATH", str(world))
    assert "there are 0" in str(refused(spec_of(world, "resources.gpus_per_worker=1")))
    with control_store() as address:
        at_once = check(spec_of(world, "resources.gpus_per_worker=1"), address=address).at_once
    assert at_once is None, "a cluster has its own"
