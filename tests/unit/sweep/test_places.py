"""Files and folders of a spec, made absolute."""

from pathlib import Path

import pytest

from sweep.spec.space import conditions
from tests.unit.sweep.specs import SMALL, load, one_problem


def test_corpus_variables_home_and_relative_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("CORPORA", "a.txt, /b.txt")
    text = SMALL + "train: {data: {corpus: [demo, $CORPORA, ~/c.txt, '${HOME}/d.txt', ../e.txt]}}\n"
    corpus = load(tmp_path, text).train.data.corpus
    assert corpus[:5] == ("demo", f"{tmp_path}/a.txt", "/b.txt", "/home/someone/c.txt", "/home/someone/d.txt")
    assert Path(corpus[5]).resolve() == tmp_path.parent / "e.txt"
    assert load(tmp_path, SMALL, "data.corpus=$CORPORA").train.data.corpus == (f"{tmp_path}/a.txt", "/b.txt")


def test_a_database_beside_the_spec_is_the_same_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, found in (
        ("sqlite:///runs.db", f"sqlite:///{tmp_path}/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ):
        assert load(tmp_path, SMALL, f"tracking_uri={given}").tracking_uri == found


def test_an_unset_corpus_variable_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_CORPUS", raising=False)
    said = one_problem(tmp_path, f"{SMALL}train: {{data: {{corpus: $NO_SUCH_CORPUS}}}}\n")
    assert "sweep.yaml:4: train.data.corpus: " in said
    assert "NO_SUCH_CORPUS is not set" in said and "--set data.corpus=FILE" in said


def test_local_encoders_become_absolute_and_hub_ids_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    text = (
        f"{SMALL}train: {{encoder: {{name: mine}}, teacher: {{name: ./later}}}}\n"
        "search: {encoder.name: {choices: [mine, some/model, 'package:x']}}\n"
    )
    spec = load(tmp_path, text)
    assert (spec.train.encoder.name, spec.train.teacher.name) == (f"{tmp_path}/mine", f"{tmp_path}/later")
    assert spec.model_dump()["search"]["encoder.name"]["choices"] == (f"{tmp_path}/mine", "some/model", "package:x")


def test_paths_in_conditions_and_points_mean_the_choices_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    text = f"""{SMALL}train: {{encoder: {{name: mine}}}}
search:
  encoder.name: {{choices: [mine, ./later, some/model]}}
  encoder.keep_layers: {{choices: [[0], [0, 5]], when: {{encoder.name: [mine, ./later]}}}}
  encoder.max_length: {{choices: [8, 16], when: {{encoder.name: ./later}}}}
points: [{{encoder.name: ./later}}, {{encoder.name: some/model}}]
"""
    spec = load(tmp_path, text)
    assert conditions(spec) == {
        "encoder.keep_layers": {"encoder.name": (f"{tmp_path}/mine", f"{tmp_path}/later")},
        "encoder.max_length": {"encoder.name": (f"{tmp_path}/later",)},
    }
    assert spec.points == ({"encoder.name": f"{tmp_path}/later"}, {"encoder.name": "some/model"})


def test_the_data_folder_is_the_files_or_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STSWEEP_DATA", "/from/variable")
    assert load(tmp_path, SMALL).data_folder == Path("/from/variable")
    assert load(tmp_path, f"{SMALL}data_dir: /from/file\n").data_folder == Path("/from/file")
