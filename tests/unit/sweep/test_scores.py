"""`stsweep eval`: which encoders are scored on which tasks, against which other, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from evaluation.tasks import load_pairs
from model.config import EncoderConfig
from model.encoder import load_encoder, save_encoder
from model.pooling import POOLINGS
from sweep.encoders import LexicalSource, encoder_config
from sweep.errors import Refused
from sweep.score_table import Row, ScoreTable
from sweep.scores import evaluate, task_ids
from tests.tiny import tiny_encoder_folder
from tests.unit.sweep.test_export import finished_sweep


def scored(models: list[str], **arguments: Any) -> ScoreTable:
    defaults: dict[str, Any] = {
        "record": None,
        "tasks": None,
        "split": "dev",
        "against": None,
        "changes": (),
        "pooling": None,
        "lexical": LexicalSource(),
        "data_dir": None,
        "resamples": 0,
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


def row(table: ScoreTable, encoder: str) -> Row:
    (found,) = [row for row in table.rows if row.encoder == encoder]
    return found


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
    assert row(table, encoder).scores[0].spearman == pytest.approx(rank_correlation(encoder, "cls"), abs=0.05)


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
    table = scored([], record=finished_sweep(tmp_path), lexical=LexicalSource((small_corpus(tmp_path),)))
    assert [row.encoder for row in table.rows] == ["tiny 0002", "untrained", "lexical"]
    assert {score.task for row in table.rows for score in row.scores} == {"demo"}
    # The fixture's winner was saved untrained.
    assert row(table, "tiny 0002").scores[0].spearman == row(table, "untrained").scores[0].spearman


def test_the_lexical_floor_is_fitted_on_a_corpus_or_on_word_counts(tmp_path: Path) -> None:
    (tmp_path / "counts.txt").write_text("the 1000\na 900\nguitar 3\n")
    by_counts = scored(["lexical"], lexical=LexicalSource(word_counts=tmp_path / "counts.txt"))
    by_corpus = scored(["lexical"], lexical=LexicalSource((small_corpus(tmp_path),)))
    assert row(by_counts, "lexical").scores[0].spearman != row(by_corpus, "lexical").scores[0].spearman


def test_a_lexical_floor_fitted_on_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="--corpus FILE"):
        scored(["lexical"])


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(Refused, match="nothing to score"):
        scored([])


def test_every_pooling_is_scored_as_if_it_were_alone(encoder: str) -> None:
    table = scored([encoder], pooling="all")
    assert [row.encoder for row in table.rows] == [row.pooling for row in table.rows]
    assert {row.pooling for row in table.rows} == set(POOLINGS)
    for name in ("cls", "avg_last4", "max_first_last", "concat_last4"):
        assert row(table, name).scores[0].spearman == pytest.approx(rank_correlation(encoder, name), abs=0.05)


def test_a_pooling_may_be_named_for_all_encoders(encoder: str, tmp_path: Path) -> None:
    other = str(tiny_encoder_folder(tmp_path / "other", seed=1))
    table = scored([encoder, other], pooling="cls")
    assert [row.pooling for row in table.rows] == ["cls", "cls"]
    assert row(table, other).scores[0].spearman == pytest.approx(rank_correlation(other, "cls"), abs=0.05)


def test_two_encoders_are_compared_pair_by_pair(encoder: str, tmp_path: Path) -> None:
    other = str(tiny_encoder_folder(tmp_path / "other", seed=1))
    table = scored([encoder], against=other, resamples=100)
    one = table.differences[encoder]["demo dev"]
    scores = [row(table, name).scores[0].spearman or 0.0 for name in (encoder, other)]
    assert one is not None
    assert one.difference == pytest.approx(scores[0] - scores[1])
    assert one.low < one.difference < one.high
    text = table.to_text()
    assert f"{encoder} minus {other}, paired, 100 resamples" in text


def test_an_interval_stands_beside_each_score_unless_no_resample_is_asked_for(encoder: str) -> None:
    (score,) = scored([encoder], resamples=100).to_json()["scores"]
    low, high = score["interval"]
    assert low < score["spearman"] < high
    assert scored([encoder], resamples=0).to_json()["scores"][0]["interval"] is None


def test_the_second_evaluation_tokenises_nothing(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
    first = scored([encoder])
    (built,) = (tmp_path / "cache" / "tokens").glob("*.arrow")
    state = built.stat()
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast._encode_plus", lambda *_, **__: pytest.fail("tokenised"))
    again = scored([encoder])
    assert again.rows[0].scores == first.rows[0].scores
    assert (built.stat().st_ino, built.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)


@pytest.mark.parametrize("resamples", [-1, 39])
def test_too_few_resamples_are_told_before_anything_is_encoded(resamples: int) -> None:
    with pytest.raises(Refused, match="give 0, or 40 or more"):
        scored(["package:not_looked_at"], resamples=resamples)


def test_what_the_floor_cannot_be_fitted_on_is_told_before_anything_is_encoded(encoder: str, tmp_path: Path) -> None:
    lexical = LexicalSource((str(tmp_path / "no.txt"),), tmp_path / "none")
    with pytest.raises(Refused) as refusal:
        scored([encoder, "lexical"], lexical=lexical)
    assert "2 problems" in str(refusal.value)


def test_a_winner_may_be_compared_with_what_the_sweep_brings(tmp_path: Path) -> None:
    source = LexicalSource((small_corpus(tmp_path),))
    table = scored([], record=finished_sweep(tmp_path), lexical=source, against="lexical", resamples=50)
    assert list(table.differences) == ["tiny 0002", "untrained"]
    assert [row.encoder for row in table.rows] == ["tiny 0002", "untrained", "lexical"]


def test_groups_stand_for_their_tasks_and_no_task_is_scored_twice() -> None:
    five = ["sts12", "sts13", "sts14", "sts15", "stsb"]
    assert task_ids("paper5") == five
    assert task_ids("stsb,paper5, sickr") == ["stsb", *five[:-1], "sickr"]
    assert task_ids("transfer") == ["mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc"]


def test_all_unknown_tasks_are_told_with_the_nearest() -> None:
    with pytest.raises(Refused) as refusal:
        task_ids("stsb,sts99,paper6,transfr")
    text = str(refusal.value)
    assert "3 problems" in text
    assert "did you mean paper5?" in text
    assert "did you mean transfer?" in text


@pytest.mark.parametrize("tasks", ["", " , "])
def test_no_task_at_all_is_refused(tasks: str) -> None:
    with pytest.raises(Refused, match="names no task"):
        task_ids(tasks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "avg_last3"}, "did you mean avg_last2?|did you mean avg_last4?"),
        ({"pooling": "all", "against": "package:other"}, "compares one pooling with one"),
        ({"pooling": "all", "tasks": "mr"}, "thousands of classifiers"),
        ({"against": "THE ENCODER", "resamples": 100}, "compared with itself"),
        ({"against": "package:other", "resamples": 0}, "0 resamples can show no difference on 1"),
    ],
)
def test_what_does_not_go_together_is_refused(encoder: str, arguments: dict[str, Any], message: str) -> None:
    given = {key: encoder if value == "THE ENCODER" else value for key, value in arguments.items()}
    with pytest.raises(Refused, match=message):
        scored([encoder], **given)
