from evaluation.score import Score
from evaluation.tables import score_table


def made(task, spearman, split="test", failure=None):
    return Score(task, split, 10, spearman, spearman, failure)


def test_columns_are_aligned_and_the_mean_is_over_all_of_them():
    table = score_table(
        {
            "untrained": [made("sts12", 50.0), made("stsb", 61.001)],
            "a longer name": [made("stsb", 7.5), made("sts12", -3.25)],
        }
    )
    assert table.split("\n") == [
        "encoder        sts12   stsb   mean",
        "untrained      50.00  61.00  55.50",
        "a longer name  -3.25   7.50   2.12",
    ]


def test_a_failure_shows_its_name_an_absent_score_a_dash_and_neither_has_a_mean():
    table = score_table({"a": [made("sts12", None, failure="collapsed"), made("stsb", 1.0)], "b": [made("stsb", 2.0)]})
    assert [line.split() for line in table.split("\n")] == [
        ["encoder", "sts12", "stsb", "mean"],
        ["a", "collapsed", "1.00", "–"],
        ["b", "–", "2.00", "–"],
    ]


def test_splits_are_named_where_there_are_several():
    table = score_table({"a": [made("demo", 1.0, "dev"), made("demo", 3.0, "test")]})
    assert table.split("\n")[0] == "encoder  demo dev  demo test  mean"


def test_a_single_column_has_no_mean():
    assert score_table({"a": [made("demo", 1.0)]}).split("\n") == ["encoder  demo", "a        1.00"]
