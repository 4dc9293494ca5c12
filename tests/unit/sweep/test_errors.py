"""Refusals as a person reads them."""

import pytest

from sweep.errors import Problem, Refused, Unreachable, nearest


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("loss.temprature", "loss.temperature"),
        ("temprature", "loss.temperature"),
        ("LOSS.TEMPERATURE", "loss.temperature"),
        ("los.rate", "views.rate"),
        ("zzz", None),
    ],
)
def test_the_nearest_name_is_offered_or_none(name: str, found: str | None) -> None:
    wanted = f"; did you mean {found}?" if found else ""
    assert nearest(name, ["loss.temperature", "views.rate"]) == wanted


def test_problems_are_told_in_the_order_of_the_file_with_the_next_command_last() -> None:
    problems = [
        Problem("late", "s.yaml", 9, "b"),
        Problem("not in the file", "--set c=1", None, "c"),
        Problem("early", "s.yaml", 2, "a"),
    ]
    assert str(Refused(problems, "stsweep check s.yaml")).splitlines() == [
        "3 problems:",
        "  s.yaml:2: a: early",
        "  s.yaml:9: b: late",
        "  --set c=1: c: not in the file",
        "Next: stsweep check s.yaml",
    ]


def test_one_problem_needs_no_heading() -> None:
    assert str(Refused([Problem("why")], "do this")) == "why\nNext: do this"


def test_refused_and_unreachable_have_their_exit_codes() -> None:
    assert (int(Refused([], "").exit_code), int(Unreachable([], "").exit_code)) == (2, 3)
