"""Exported folders: sentence-transformers is the oracle, a library of others that reads what we write."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from model.config import EncoderConfig, PoolingName, TrainConfig
from model.encoder import load_encoder, save_encoder, saved_config
from sweep.errors import Refused
from sweep.export.folder import export
from sweep.record import Record
from sweep.spec.sweep_spec import load_spec
from sweep.trial_record import Row, RowLog
from tests.tiny import tiny_encoder_folder

pytest.importorskip("sentence_transformers", reason="pip install 'stsweep[export]'")

SENTENCES = [
    "A man plays the guitar.",
    "Two dogs run",
    "The woman sees an old red house in the street, and 3 people talk to the boy slowly today.",
    "snow",
    "the cat eats " * 60,  # longer than the encoder's positions
]
SPEC = """
name: tiny
train:
  encoder: {{name: {folder}}}
  budget: {{sentences: 640}}
search:
  encoder.pooling: {{choices: [cls, avg_last2]}}
scheduler: {{name: asha, grace: 320, reduction_factor: 2}}
objective: {{task: demo, split: dev}}
trials: 3
tracking_uri: http://user:secret@tracking
"""


def finished_sweep(
    root: Path, *, pooling: str = "avg_last2", architecture: Any = "distilbert", name: str = "tiny"
) -> Record:
    """Three trials: 0 stopped early at a high score, 1 completed, 2 completed and best."""
    base = tiny_encoder_folder(root / "base", architecture=architecture)
    (root / "spec.yaml").write_text(SPEC.format(folder=base))
    spec = load_spec(root / "spec.yaml")
    about = {"objective": "demo dev spearman", "rungs": (320, 640), "searched": ("encoder.pooling",), "trials": 3}
    encoder = load_encoder(spec.train.encoder.model_copy(update={"pooling": pooling}))
    record = Record.create(root / "sweeps", name, spec.to_yaml(), about | {"spec_hash": "", "command": ""})
    for number, (score, state) in enumerate([(90.0, "stopped"), (50.0, "completed"), (60.5, "completed")]):
        point = {"encoder.pooling": pooling}
        config = spec.train.replace(point)
        folder = record.add_trial(number, point, config.flatten())
        now = time.time()
        RowLog(folder).append(Row(1, 640, 10, 640, score, None, 0.5, "fp32", "fp32", 1.0, 1.0, started=now, time=now))
        if state == "completed":
            save_encoder(encoder, folder / "encoder")
        record.end_trial(number, state)  # type: ignore[arg-type]
    record.write_baselines({"untrained": 41.25, "lexical": 55.0})
    record.release()
    return record


def sentence_transformer(folder: Path, **arguments: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", **arguments)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return finished_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.mark.parametrize("architecture", ["distilbert", "bert"])
@pytest.mark.parametrize("pooling", get_args(PoolingName))
def test_sentence_transformers_gives_our_embeddings(pooling: str, architecture: str, tmp_path: Path) -> None:
    record = finished_sweep(tmp_path, pooling=pooling, architecture=architecture)
    ours = load_encoder(saved_config(record.trial_folder(2) / "encoder")).encode(SENTENCES)

    exported = export(record, None, tmp_path / "out")

    trust = {"trust_remote_code": True} if exported.note else {}
    loaded = sentence_transformer(exported.folder, **trust)
    np.testing.assert_allclose(loaded.encode(SENTENCES), ours, atol=1e-5)
    assert loaded.get_embedding_dimension() == ours.shape[1]
    again = load_encoder(saved_config(exported.folder))
    assert again.pooling == pooling
    np.testing.assert_allclose(again.encode(SENTENCES), ours, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "avg_first_last", "concat_last4", "max_last4"])
def test_only_a_maximum_over_layers_needs_trust_and_says_so(pooling: str, tmp_path: Path) -> None:
    exported = export(finished_sweep(tmp_path, pooling=pooling), None, tmp_path / "out")
    if not pooling.startswith("max_"):
        assert exported.note is None
        sentence_transformer(exported.folder)
        return
    assert "trust_remote_code=True" in str(exported.note)
    assert "trust_remote_code=True" in (exported.folder / "README.md").read_text()
    with pytest.raises(ValueError, match="trust_remote_code"):
        sentence_transformer(exported.folder)


def test_a_module_that_the_folder_carries_imports_nothing_of_ours(tmp_path: Path) -> None:
    exported = export(finished_sweep(tmp_path, pooling="max_last2"), None, tmp_path / "out")
    code = (exported.folder / "layer_pooling.py").read_text()
    assert not any(f"{verb} {ours}" in code for verb in ("import", "from") for ours in ("sweep", "model", "evaluation"))


@pytest.mark.parametrize("architecture", ["distilbert", "bert"])
def test_no_weight_is_exported_that_was_not_trained_here(architecture: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    record = finished_sweep(tmp_path, architecture=architecture)
    exported = export(record, None, tmp_path / "out")
    with (
        safe_open(record.trial_folder(2) / "encoder" / "model.safetensors", "pt") as before,
        safe_open(exported.folder / "model.safetensors", "pt") as after,
    ):
        assert set(before.keys()) == set(after.keys())


def test_the_best_trial_is_the_best_of_those_that_completed(sweep: Record, tmp_path: Path) -> None:
    assert export(sweep, None, tmp_path / "out").trial == 2


def test_a_trial_is_exported_by_its_number(sweep: Record, tmp_path: Path) -> None:
    assert export(sweep, 1, tmp_path / "out").trial == 1


def test_an_existing_folder_is_refused_and_untouched(sweep: Record, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="exists already") as refusal:
        export(sweep, None, tmp_path / "out")
    assert str(tmp_path / "out-2") in refusal.value.next
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("number", "said"), [(0, "trial 0 is stopped"), (7, "there is no trial 7")])
def test_a_trial_without_an_encoder_is_refused_with_those_that_have_one(
    number: int, said: str, sweep: Record, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=said) as refusal:
        export(sweep, number, tmp_path / "out")
    assert "1, 2" in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    record = finished_sweep(tmp_path)
    (record.trial_folder(2) / "encoder" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(Exception):  # noqa: B017 (whatever the library says of a torn file)
        export(record, None, tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []


def test_the_configuration_runs_the_winner_again_without_a_search(sweep: Record, tmp_path: Path) -> None:
    exported = export(sweep, None, tmp_path / "out")
    spec = load_spec(exported.config)
    winner = json.loads((sweep.trial_folder(2) / "trial.json").read_text())["config"]
    assert spec.train == TrainConfig.from_flat(winner)
    assert spec.searched == ()
    assert spec.trials == 1
    assert spec.objective.task == "demo"


def test_what_is_passed_on_holds_no_password(sweep: Record, tmp_path: Path) -> None:
    exported = export(sweep, None, tmp_path / "out")
    text = "".join(path.read_text(errors="replace") for path in exported.folder.rglob("*") if path.is_file())
    assert "secret" not in text


def test_the_model_card_tells_the_score_its_split_and_the_baselines(sweep: Record, tmp_path: Path) -> None:
    card = (export(sweep, None, tmp_path / "chosen").folder / "README.md").read_text()
    for said in ("demo dev spearman", "60.50", "41.25", "55.00", "`tiny`", "development split"):
        assert said in card
    assert 'SentenceTransformer("chosen")' in card
    assert "encoder.pooling: avg_last2" in card


def test_a_sweep_of_the_longest_name_exports_a_loadable_configuration(tmp_path: Path) -> None:
    record = finished_sweep(tmp_path, name="a" * 64)
    assert load_spec(export(record, None, tmp_path / "out").config).name == "a" * 58 + "-0002"


def test_training_length_does_not_cut_what_is_encoded(sweep: Record, tmp_path: Path) -> None:
    exported = export(sweep, None, tmp_path / "out")
    ours = load_encoder(EncoderConfig(name=str(exported.folder), pooling="avg_last2", max_length=8)).encode(SENTENCES)
    np.testing.assert_allclose(sentence_transformer(exported.folder).encode(SENTENCES), ours, atol=1e-5)
