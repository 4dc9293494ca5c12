"""Every shipped sweep is a test case."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import search_spaces
from model.config import PoolingName
from sweep.spec.search import Choices, points
from sweep.spec.sweep_spec import SweepSpec, load_spec, rungs

NAMES = search_spaces.names()
OF_DEMO = ("quickstart", "student_grid", "student_search")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("A sentence.\n")
    monkeypatch.setenv("STSWEEP_CORPUS", str(path))
    return path


def load(name: str) -> SweepSpec:
    return load_spec(search_spaces.folder() / f"{name}.yaml")


def test_the_six_sweeps_are_found_by_name() -> None:
    assert NAMES == ["distilface", "minilm_student", "paper_grid", "quickstart", "student_grid", "student_search"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_sweep_is_valid_and_says_what_it_is_for(name: str, corpus: Path) -> None:
    spec = load(name)
    assert spec.name == name.replace("_", "-")
    assert len(spec.description) > 20
    assert "\n" not in spec.description
    assert spec.searched
    assert spec.train.data.corpus == (("demo",) if name in OF_DEMO else (str(corpus),))


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_sweep_loads_again_from_its_resolved_text(name: str, corpus: Path, tmp_path: Path) -> None:
    spec = load(name)
    (tmp_path / "again.yaml").write_text(spec.to_yaml())
    assert load_spec(tmp_path / "again.yaml") == spec


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_a_row_for_each_with_its_number_of_trials(name: str, corpus: Path) -> None:
    lines = (search_spaces.folder() / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if line.startswith(f"| [{name}.yaml]({name}.yaml)"))
    spec = load(name)
    trials = spec.trials or len(points(spec.grids, spec.train))
    assert f"| {trials}, " in row


def test_no_readme_row_is_of_a_sweep_that_is_not_there() -> None:
    text = (search_spaces.folder() / "README.md").read_text(encoding="utf-8")
    assert text.count(".yaml](") == len(NAMES)


@pytest.mark.parametrize("name", ["quickstart", "minilm_student"])
def test_a_student_can_be_taught_by_cosine_at_every_point(name: str, corpus: Path) -> None:
    spec = load(name)
    pooling = spec.grids[0]["encoder.pooling"]
    assert isinstance(pooling, Choices)
    assert "concat_last4" not in pooling.choices  # four times as wide as the teacher
    assert spec.train.loss.distillation_weight > 0
    assert spec.train.teacher.name == spec.train.encoder.name


def test_the_quickstart_needs_no_data_no_gpu_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STSWEEP_CORPUS", raising=False)
    spec = load("quickstart")
    assert (spec.objective.task, spec.objective.split) == ("demo", "dev")
    assert spec.resources.gpus_per_worker == 0
    assert spec.train.encoder.name.startswith("package:")
    assert rungs(spec) == (1_600, 3_200, 6_400)


def test_distilface_searches_every_knob_of_the_paper(corpus: Path) -> None:
    spec = load("distilface")
    assert set(spec.searched) == {"optim.learning_rate", "optim.batch_size", "loss.temperature", "encoder.pooling"}
    pooling = spec.grids[0]["encoder.pooling"]
    assert isinstance(pooling, Choices)
    assert set(pooling.choices) == set(get_args(PoolingName))
    assert spec.train.budget.sentences == 20_000 * 128


def test_the_papers_grid_varies_one_knob_at_a_time_around_its_defaults(corpus: Path) -> None:
    spec = load("paper_grid")
    centre = {
        "optim.learning_rate": 5e-5,
        "loss.temperature": 0.05,
        "optim.batch_size": 64,
        "encoder.pooling": "avg_first_last",
    }
    found = points(spec.grids, spec.train)
    changed = [[knob for knob in centre if point[knob] != centre[knob]] for point in found]
    assert all(len(knobs) <= 1 for knobs in changed)
    assert changed.count([]) == 1
    others = {knob: changed.count([knob]) for knob in centre}
    assert others == {"optim.learning_rate": 2, "loss.temperature": 4, "optim.batch_size": 2, "encoder.pooling": 13}
    assert rungs(spec) == (30_000 * 64,)


def test_the_students_grid_is_a_hundred_cells_or_more_of_the_quickstarts_student(corpus: Path) -> None:
    spec, quickstart = load("student_grid"), load("quickstart")
    assert len(points(spec.grids, spec.train)) >= 100
    assert spec.train.budget == quickstart.train.budget
    assert spec.train.encoder.name == quickstart.train.encoder.name
    assert spec.train.encoder.keep_layers == quickstart.train.encoder.keep_layers
    assert spec.scheduler.name == "none"
    assert rungs(spec) == (400, 800, 1_600, 3_200, 6_400)


def test_the_students_search_is_of_the_cells_of_its_grid() -> None:
    grid, search = load("student_grid"), load("student_search")
    assert search.train == grid.train
    assert search.objective == grid.objective
    assert set(rungs(search)) <= set(rungs(grid))

    def cells(spec: SweepSpec) -> set[frozenset[tuple[str, object]]]:
        return {frozenset(point.items()) for point in points(spec.grids, spec.train)}

    assert cells(search) == cells(grid)
