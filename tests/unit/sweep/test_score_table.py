"""What `stsweep eval` prints: tables and JSON of scores, averages, intervals and differences."""

from __future__ import annotations

import json
import re

import numpy as np

from evaluation.bootstrap import Interval
from evaluation.compare import Difference
from evaluation.probe import TransferScore
from evaluation.score import Score
from evaluation.tasks import AVERAGES
from sweep.score_table import Row, ScoreTable


def sts(*values: float | None) -> list[Score]:
    return [
        Score(task, "test", 10, value, value, None if value is not None else "collapsed")
        for task, value in zip(AVERAGES["sts7"], values, strict=False)
    ]


def table(**scores: list[Score]) -> ScoreTable:
    return ScoreTable([Row(name, "cls", found) for name, found in scores.items()], AVERAGES)


def test_an_average_is_of_the_encoders_that_have_a_score_on_all_its_tasks() -> None:
    assert table(a=sts(10, 20, 30, 40, 50, 60, 70)).averages() == {"paper5": {"a": 32.0}, "sts7": {"a": 40.0}}
    assert table(a=sts(10, 20, 30, 40)).averages() == {}
    both = table(a=sts(10, 20, 30, 40, 50, 60, 70), b=sts(10, 20, 30, 40, 50, None, 70))
    assert both.averages() == {"paper5": {"a": 32.0}, "sts7": {"a": 40.0}}


def test_a_dev_score_enters_no_average() -> None:
    scores = sts(10, 20, 30, 40, 50, 60, 70)
    scores[5] = Score("stsb", "dev", 10, 60, 60, None)
    assert table(a=scores).averages() == {}


def test_the_text_shows_every_encoder_and_names_the_averages() -> None:
    text = table(first=sts(10, 20, 30, 40, 50, 60, 70), second=sts(11, 21, 31, 41, 51, 61, 71)).to_text()
    assert re.search(r"^encoder +sts12 .* sickr +paper5 +sts7$", text, re.MULTILINE)
    assert re.search(r"^second .* 71\.00 +33\.00 +41\.00$", text, re.MULTILINE)
    assert "paper5: mean over the test sets of sts12, sts13, sts14, sts15, stsb" in text


def test_a_failure_is_named_and_has_no_interval() -> None:
    text = table(a=sts(None)).to_text()
    assert re.search(r"^sts12 test +a +10 +collapsed +–", text, re.MULTILINE)


def test_alignment_uniformity_and_spread_stand_beside_each_score() -> None:
    score = Score("demo", "dev", 9, 50.0, 51.0, None, 1, 2, 3, 4, alignment=0.25, uniformity=-3.5, spread=0.875)
    text = table(a=[score]).to_text()
    assert text.splitlines()[0].split()[-3:] == ["alignment", "uniformity", "spread"]
    assert text.splitlines()[1].split()[-3:] == ["0.250", "-3.500", "0.875"]


def compared(p: float, p_holm: float | None) -> ScoreTable:
    difference = Difference(1.5, 0.5, 2.5, p, p_holm)
    rows = [Row("a", "cls", sts(12.0)), Row("b", "cls", sts(10.5))]
    sure = {"a": {"sts12 test": Interval(9.0, 15.0)}, "b": {"sts12 test": None}}
    return ScoreTable(rows, AVERAGES, sure, "b", {"a": {"sts12 test": difference}}, 2000)


def test_a_difference_counts_after_holms_correction_only() -> None:
    assert re.search(r"sts12 test +\+1\.50 +\+0\.50 … \+2\.50 .* a is higher", compared(0.01, 0.03).to_text())
    assert "no difference shown" in compared(0.01, 0.07).to_text()
    assert "a is higher" in compared(0.01, None).to_text()


def test_json_holds_a_row_for_each_score_interval_and_difference() -> None:
    content = json.loads(json.dumps(compared(0.01, 0.03).to_json()))
    first, second = content["scores"]
    assert (first["encoder"], first["pooling"], first["task"], first["split"], first["pairs"]) == (
        *("a", "cls", "sts12", "test", 10),
    )
    assert (first["spearman"], first["interval"], second["interval"]) == (12.0, [9.0, 15.0], None)
    assert content["differences"] == [
        {
            "encoder": "a",
            "against": "b",
            "of": "sts12 test",
            "difference": 1.5,
            "low": 0.5,
            "high": 2.5,
            "p": 0.01,
            "p_holm": 0.03,
        }
    ]
    assert content["resamples"] == 2000


def test_transfer_tasks_have_a_table_and_an_average_of_their_own() -> None:
    scores = [
        TransferScore(task, 2, value, 90.0, None, None, (("x",), ("y",)), np.array([True, False]))
        for task, value in (("mr", 70.0), ("cr", 80.0))
    ]
    found = ScoreTable([Row("a", "cls", [], scores)], {"transfer": ("mr", "cr")})
    assert found.averages() == {"transfer": {"a": 75.0}}
    assert re.search(r"^cr +a +2 +80\.00", found.to_text(), re.MULTILINE)
    assert found.to_json()["transfer"][0]["accuracy"] == 70.0
    json.dumps(found.to_json())
