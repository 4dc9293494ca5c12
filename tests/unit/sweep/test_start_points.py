"""Points that are tried first: checked against the search, kept in the order of the file."""

from pathlib import Path

import optuna
import pytest

from sweep.spec.space import distributions, start_points
from tests.unit.sweep.specs import SMALL, load, one_problem, refusal

SEARCH = """\
search:
  optim.learning_rate: {low: 1e-5, high: 1e-3, log: true}
  optim.batch_size: {low: 32, high: 128, step: 32}
  views.rate: {low: 0.1, high: 0.7, step: 0.1}
  encoder.pooling: {choices: [cls, avg_last2]}
  encoder.keep_layers: {choices: [null, [0, 5]]}
  loss.contrastive_weight: {choices: [0.1, 0.3]}
  loss.temperature: {low: 0.01, high: 0.2, when: {loss.contrastive_weight: 0.3}}
"""


def tried(*points: str) -> str:
    return f"{SMALL}{SEARCH}points:\n" + "".join(f"  - {point}\n" for point in points)


def test_points_are_kept_in_order_in_the_types_of_their_knobs(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        tried(
            "{optim.learning_rate: 1e-3, optim.batch_size: 96.0, views.rate: 0.3, encoder.keep_layers: [0, 5]}",
            "{encoder.keep_layers: null, loss.temperature: 0.05, loss.contrastive_weight: 0.3}",
            "{encoder.pooling: cls}",
        ),
    )
    assert start_points(spec) == [
        {"optim.learning_rate": 0.001, "optim.batch_size": 96, "views.rate": 0.3, "encoder.keep_layers": "0,5"},
        {"encoder.keep_layers": None, "loss.temperature": 0.05, "loss.contrastive_weight": 0.3},
        {"encoder.pooling": "cls"},
    ]
    assert isinstance(start_points(spec)[0]["optim.batch_size"], int)
    assert load(tmp_path, spec.to_yaml()) == spec


def test_optuna_tries_the_points_as_they_are(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    spec = load(tmp_path, tried("{views.rate: 0.3, optim.batch_size: 96}", "{encoder.keep_layers: [0, 5]}"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in start_points(spec):
        study.enqueue_trial(point)
    for point in start_points(spec):
        asked = study.ask(distributions(spec)).params
        assert asked | point == asked
    assert not [warning for warning in recwarn if "out of the range" in str(warning.message)]


def test_a_knob_that_may_be_null_is_not_null_where_a_range_is_searched(tmp_path: Path) -> None:
    said = one_problem(
        tmp_path, f"{SMALL}search: {{encoder.dropout: {{low: 0, high: 0.3}}}}\npoints: [{{encoder.dropout: null}}]\n"
    )
    assert "null lies outside the search, 0.0 to 0.3" in said


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ("{optim.learning_rate: 1}", "points[0].optim.learning_rate: 1 lies outside the search, 1e-05 to 0.001"),
        ("{optim.learning_rate: fast}", "a finite number above 0"),
        ("{optim.batch_size: 33}", "between two steps of the search, 32 and 64"),
        ("{views.rate: 0.35}", "between two steps of the search, 0.3 and 0.4"),
        ("{encoder.pooling: avg_last4}", "not among the choices of the search, 'cls', 'avg_last2'; did you mean avg_"),
        ("{encoder.keep_layers: [0]}", "not among the choices of the search, null, '0,5'"),
        ("{encoder.poling: cls}", "no such knob; did you mean encoder.pooling?"),
        ("{precision: bf16}", "not searched: it is 'auto' in every trial"),
        ("{budget.sentences: 100}", "not searched: it is 1920000"),
        ("{loss.temperature: 0.1}", "asked only where loss.contrastive_weight is 0.3; give that too"),
        ("{loss.temperature: 0.1, loss.contrastive_weight: 0.1}", "asked only where loss.contrastive_weight is 0.3"),
        ("{}", "at least one knob"),
        ("cls", "give a mapping"),
    ],
)
def test_a_point_that_the_search_cannot_reach_is_refused_once_with_its_line(
    tmp_path: Path, point: str, words: str
) -> None:
    said = one_problem(tmp_path, tried(point))
    assert "sweep.yaml:13: points[0]" in said
    assert words in said


def test_a_point_twice_is_refused(tmp_path: Path) -> None:
    said = one_problem(
        tmp_path, tried("{optim.batch_size: 64, views.rate: 0.2}", "{views.rate: 0.2, optim.batch_size: 64}")
    )
    assert "sweep.yaml:14: points[1]: the same as a point before it" in said


def test_points_are_a_list(tmp_path: Path) -> None:
    assert "give a list" in one_problem(tmp_path, f"{SMALL}{SEARCH}points: {{optim.batch_size: 64}}\n")


def test_points_are_refused_with_a_grid_which_has_its_own(tmp_path: Path) -> None:
    text = "name: g\nobjective: {task: demo}\nsampler: {name: grid}\nsearch: {views.rate: {choices: [0.1, 0.2]}}\n"
    assert "leave points out" in one_problem(tmp_path, text + "points: [{views.rate: 0.1}]\n")


def test_a_whole_point_that_breaks_a_rule_over_several_knobs_is_refused_and_a_part_of_one_is_not(
    tmp_path: Path,
) -> None:
    text = f"""{SMALL}train: {{teacher: {{name: some/teacher}}}}
search:
  loss.contrastive_weight: {{choices: [0, 1]}}
  loss.distillation_weight: {{choices: [0, 1]}}
"""
    load(tmp_path, text + "points: [{loss.contrastive_weight: 0}]\n")
    said = one_problem(tmp_path, text + "points: [{loss.contrastive_weight: 0, loss.distillation_weight: 0}]\n")
    assert "points[0]" in said and "both 0" in said


def test_a_mistake_in_the_search_is_not_told_of_the_point_again(tmp_path: Path) -> None:
    text = tried("{optim.batch_size: 64, views.rate: 0.9}").replace("low: 32", "low: 1")
    assert [problem.key for problem in refusal(tmp_path, text).problems] == [
        "search.optim.batch_size.low",
        "points[0].views.rate",
    ]


@pytest.mark.parametrize("search", ["null", "3", "[]"])
def test_where_search_itself_is_no_search_the_points_are_not_held_against_it(tmp_path: Path, search: str) -> None:
    text = f"{SMALL}search: {search}\npoints: [{{optim.batch_size: 64, encoder.poling: cls}}]\n"
    problems = refusal(tmp_path, text).problems
    assert {problem.key for problem in problems} == {"search", "points[0].encoder.poling"}
    assert any("did you mean encoder.pooling?" in problem.message for problem in problems)


def test_a_knob_that_set_fixes_leaves_the_points_and_a_point_that_says_no_more_is_dropped(tmp_path: Path) -> None:
    text = tried(
        "{optim.batch_size: 64, views.rate: 0.2}",
        "{optim.batch_size: 32, views.rate: 0.2}",
        "{optim.batch_size: 32}",
        "{loss.contrastive_weight: 0.3, loss.temperature: 0.05, encoder.pooling: cls}",
    )
    assert start_points(load(tmp_path, text, "optim.batch_size=96", "trials=9")) == [
        {"views.rate": 0.2},
        {"loss.contrastive_weight": 0.3, "loss.temperature": 0.05, "encoder.pooling": "cls"},
    ]
    assert load(tmp_path, text, "optim.batch_size=96", "trials=9").left_out == (
        "optim.batch_size is not searched: --set fixed it at 96",
        "points[0] is tried without optim.batch_size, not searched any more",
        "points[1] is not tried: it says nothing new without optim.batch_size, not searched any more",
        "points[2] is not tried: it says nothing new without optim.batch_size, not searched any more",
    )
    # loss.temperature is never asked at this weight, so it leaves the search and the points.
    fixed = load(tmp_path, text, "loss.contrastive_weight=0.1", "trials=9")
    assert start_points(fixed)[-1] == {"encoder.pooling": "cls"}
