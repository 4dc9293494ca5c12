from evaluation.score import Score
from evaluation.tables import score_table


def made(task, spearman, split="test", failure=None):
    return Score(task, split, 10, spearman, spearman, failure)


def test_columns_are_aligned_and_averages_come_last():
    table = score_table(
        {
            "untrained": [made("sts12", 50.0), made("stsb", 61.001)],
            "a longer name": [made("stsb", 7.5), made("sts12", -3.25)],
        },
        {"both": {"untrained": 55.5005}},
    )
    assert table.split("\n") == [
        "encoder        sts12   stsb   both",
        "untrained      50.00  61.00  55.50",
        "a longer name  -3.25   7.50      –",
    ]


def test_a_failure_shows_its_name_and_an_absent_score_a_dash():
    scores = {"a": [made("sts12", None, failure="collapsed"), made("stsb", 1.0)], "b": [made("stsb", 2.0)]}
    assert [line.split() for line in score_table(scores, {}).split("\n")] == [
        ["encoder", "sts12", "stsb"],
        ["a", "collapsed", "1.00"],
        ["b", "–", "2.00"],
    ]


def test_splits_are_named_where_there_are_several():
    table = score_table({"a": [made("demo", 1.0, "dev"), made("demo", 3.0, "test")]}, {})
    assert table.split("\n")[0] == "encoder  demo dev  demo test"
