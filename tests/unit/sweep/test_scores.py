"""`stsweep eval`: which encoders are scored on which splits, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from evaluation.score import Score
from evaluation.tasks import load_pairs
from model.config import EncoderConfig
from model.encoder import load_encoder, save_encoder
from sweep.errors import Refused
from sweep.scores import AVERAGES, ScoreTable, encoder_config, evaluate
from tests.tiny import tiny_encoder_folder
from tests.unit.sweep.test_export import finished_sweep


def scored(models: list[str], **arguments: Any) -> ScoreTable:
    defaults: dict[str, Any] = {
        "record": None,
        "tasks": None,
        "split": "dev",
        "changes": (),
        "corpus": None,
        "word_counts": None,
        "data_dir": None,
        "root": Path("sweeps"),
    }
    return evaluate(models, **defaults | arguments)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only wait for one another on matrices as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder_folder(tmp_path_factory.mktemp("encoder")))


def small_corpus(folder: Path) -> str:
    path = folder / "corpus.txt"
    path.write_text("A man plays the guitar.\nThe dog runs in the snow.\nThe cat sees a bird.\n")
    return str(path)


def rank_correlation(folder: str, pooling: str) -> float:
    """Spearman × 100 on the demonstration pairs by scipy, one pair at a time."""
    pairs = load_pairs("demo", "dev", None)
    loaded = load_encoder(EncoderConfig.model_validate({"name": folder, "pooling": pooling}))
    first, second = loaded.encode(pairs.first), loaded.encode(pairs.second)
    cosines = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(first, second, strict=True)]
    return 100 * float(spearmanr(cosines, pairs.gold).statistic)


def test_an_encoder_is_scored_with_the_pooling_that_was_set(encoder: str) -> None:
    table = scored([encoder], changes=["encoder.pooling=cls"])
    assert table.scores[encoder][0].spearman == pytest.approx(rank_correlation(encoder, "cls"), abs=0.05)


def test_a_saved_encoder_is_scored_with_the_pooling_it_declares(encoder: str, tmp_path: Path) -> None:
    save_encoder(load_encoder(EncoderConfig(name=encoder, pooling="max_last2")), tmp_path / "saved")
    assert encoder_config(str(tmp_path / "saved")).pooling == "max_last2"
    assert encoder_config(str(tmp_path / "saved"), ["encoder.pooling=cls"]).pooling == "cls"


def test_an_encoder_that_declares_nothing_has_the_default_pooling(encoder: str) -> None:
    assert encoder_config(encoder).pooling == EncoderConfig().pooling


def test_layers_can_be_kept(encoder: str) -> None:
    assert encoder_config(encoder, ["encoder.keep_layers=0,3"]).keep_layers == (0, 3)


def test_all_wrong_changes_are_told_at_once(encoder: str) -> None:
    changes = ["encoder.pooling=avg_last3", "loss.temperature=1", "encoder.poolin=cls", "cls"]
    with pytest.raises(Refused) as refusal:
        scored([encoder], changes=changes)
    text = str(refusal.value)
    assert "4 problems" in text
    assert all(f"--set {change}" in text for change in changes)
    assert "avg_last4" in text
    assert "did you mean encoder.pooling?" in text


def test_a_sweep_gives_its_winner_beside_the_untrained_encoder_and_the_lexical_floor(tmp_path: Path) -> None:
    table = scored([], record=finished_sweep(tmp_path), corpus=small_corpus(tmp_path))
    assert list(table.scores) == ["tiny 0002", "untrained", "lexical"]
    assert {score.task for row in table.scores.values() for score in row} == {"demo"}
    # The fixture's winner was saved untrained.
    assert table.scores["tiny 0002"][0].spearman == table.scores["untrained"][0].spearman


def test_the_lexical_floor_is_fitted_on_a_corpus_or_on_word_counts(tmp_path: Path) -> None:
    (tmp_path / "counts.txt").write_text("the 1000\na 900\nguitar 3\n")
    by_counts = scored(["lexical"], word_counts=tmp_path / "counts.txt")
    by_corpus = scored(["lexical"], corpus=small_corpus(tmp_path))
    assert by_counts.scores["lexical"][0].spearman != by_corpus.scores["lexical"][0].spearman


def test_a_lexical_floor_fitted_on_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="--corpus FILE"):
        scored(["lexical"])


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(Refused, match="nothing to score"):
        scored([])


def sts(*values: float | None) -> list[Score]:
    return [
        Score(task, "test", 10, value, value, None if value is not None else "collapsed")
        for task, value in zip(AVERAGES["sts7"], values, strict=False)
    ]


def test_an_average_is_offered_only_when_all_its_tasks_have_a_score() -> None:
    seven = ScoreTable({"a": sts(10, 20, 30, 40, 50, 60, 70)})
    assert seven.averages() == {"paper5": {"a": 32.0}, "sts7": {"a": 40.0}}
    assert ScoreTable({"a": sts(10, 20, 30, 40)}).averages() == {}
    assert ScoreTable({"a": sts(10, 20, 30, 40, 50, None, 70)}).averages() == {}


def test_the_table_shows_every_encoder_and_names_the_averages() -> None:
    text = ScoreTable({"first": sts(10, 20, 30, 40, 50, 60, 70), "second": sts(11, 21, 31, 41, 51, 61, 71)}).to_text()
    assert "sts7" in text
    assert re.search(r"^second .*71\.00", text, re.MULTILINE)


def test_json_holds_a_row_for_each_score() -> None:
    content = ScoreTable({"a": sts(10, 20)}, {"a": "cls"}).to_json()
    assert content["scores"][1] == {
        "encoder": "a",
        "pooling": "cls",
        "task": "sts13",
        "split": "test",
        "pairs": 10,
        "spearman": 20,
        "pearson": 20,
        "failure": None,
    }
    assert content["averages"] == {}
