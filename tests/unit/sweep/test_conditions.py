"""Knobs that are asked only where other knobs have certain values."""

import itertools
from pathlib import Path

import pytest

from sweep.spec.misfits import Shape, misfits
from sweep.spec.space import active, conditions, distributions, grid_points, trial_config
from tests.unit.sweep.specs import SMALL, load, one_problem, refusal

TREE = """\
search:
  loss.temperature: {low: 0.01, high: 0.2, log: true, when: {loss.contrastive_weight: [0.1, 0.3]}}
  optim.clip_norm: {choices: [1, 2], when: {views.kind: word_deletion, loss.contrastive_weight: 0.3}}
  views.rate: {choices: [0.1, 0.2], when: {views.kind: [word_deletion, span_crop]}}
  views.kind: {choices: [dropout, word_deletion, span_crop], when: {encoder.pooling: cls}}
  loss.contrastive_weight: {choices: [0.0, 0.1, 0.3]}
  encoder.pooling: {choices: [cls, avg_last2]}
"""
CHOICES = {
    "loss.contrastive_weight": [0.0, 0.1, 0.3],
    "encoder.pooling": ["cls", "avg_last2"],
    "views.kind": ["dropout", "word_deletion", "span_crop"],
}
TEACHER = "train: {teacher: {name: some/teacher}, loss: {distillation_weight: 1}}\n"


def test_every_parent_comes_before_its_children(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + TEACHER + TREE)
    order = list(distributions(spec))
    assert sorted(order) == sorted(spec.searched)
    for knob, when in conditions(spec).items():
        assert all(order.index(parent) < order.index(knob) for parent in when)


def test_a_knob_is_asked_where_its_parents_ask_for_it_and_are_asked_themselves(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + TEACHER + TREE)
    for weight, pooling, kind in itertools.product(*CHOICES.values()):
        point = {"loss.contrastive_weight": weight, "encoder.pooling": pooling, "views.kind": kind}
        wanted = {"loss.contrastive_weight", "encoder.pooling"}
        if weight > 0:
            wanted.add("loss.temperature")
        if pooling == "cls":
            wanted.add("views.kind")
            if kind != "dropout":
                wanted.add("views.rate")
            if kind == "word_deletion" and weight == 0.3:
                wanted.add("optim.clip_norm")
        asked = active(spec, point)
        assert set(asked) == wanted
        assert list(asked) == [knob for knob in distributions(spec) if knob in wanted]


def test_true_is_no_1(tmp_path: Path) -> None:
    search = (
        "search: {loss.contrastive_weight: {choices: [0.5, 1]}, loss.temperature: {low: 0.1, high: 0.2, when: WHEN}}"
    )
    text = SMALL + TEACHER + search.replace("WHEN", "{loss.contrastive_weight: true}")
    assert "true cannot occur" in one_problem(tmp_path, text)


def test_a_parent_without_a_value_asks_none_of_its_children(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + TEACHER + TREE)
    assert set(active(spec, {})) == {"loss.contrastive_weight", "encoder.pooling"}


def test_a_knob_that_is_not_asked_is_as_in_train(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + TEACHER + TREE, "views.rate=0.25")
    config = trial_config(spec, {"loss.contrastive_weight": 0.0, "encoder.pooling": "avg_last2"})
    assert (config.loss.temperature, config.views.rate, config.views.kind) == (0.05, 0.25, "dropout")


def test_at_a_point_of_a_grid_a_knob_that_is_not_asked_is_as_in_train_and_equal_points_are_one(tmp_path: Path) -> None:
    text = """\
name: g
objective: {task: demo}
sampler: {name: grid}
train: {teacher: {name: some/teacher}, loss: {distillation_weight: 1, temperature: 0.07}}
search:
  - loss.temperature: {choices: [0.03, 0.08], when: {loss.contrastive_weight: [0.1, 0.3]}}
    loss.contrastive_weight: {choices: [0.0, 0.1, 0.3]}
"""
    spec = load(tmp_path, text)
    found = [(point["loss.contrastive_weight"], point["loss.temperature"]) for point in grid_points(spec)]
    assert sorted(found) == [(0.0, 0.07), (0.1, 0.03), (0.1, 0.08), (0.3, 0.03), (0.3, 0.08)]
    assert conditions(spec) == {}
    assert set(active(spec, {})) == {"loss.temperature", "loss.contrastive_weight"}
    for point in grid_points(spec):
        for knob, distribution in distributions(spec).items():
            assert distribution.to_internal_repr(point[knob]) >= 0


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("{loss.temprature: 1}", "when.loss.temprature: no such knob; did you mean loss.temperature?"),
        ("{optim.batch_size: 64}", "when.optim.batch_size: not searched here"),
        ("{loss.temperature: 0.05}", "when.loss.temperature: needs choices: loss.temperature is a range"),
        ("{views.kind: dropuot}", "cannot occur; views.kind has the choices 'dropout', 'span_crop'; did you mean drop"),
        ("{views.kind: word_deletion}", "'word_deletion' cannot occur"),
        ("{views.kind: [dropout, 3]}", "when.views.kind[1]: 3 cannot occur"),
        ("{views.kind: [dropout, dropout]}", "listed twice"),
        ("{views.kind: []}", "at least one value"),
        ("{}", "give a mapping"),
        ("cls", "give a mapping"),
        ("[cls]", "give a mapping"),
        ("{encoder.pooling: cls}", "a circle: encoder.pooling waits for encoder.pooling"),
    ],
)
def test_a_mistaken_condition_is_refused_once_with_its_line(tmp_path: Path, when: str, words: str) -> None:
    text = f"""{SMALL}search:
  loss.temperature: {{low: 0.01, high: 0.2}}
  views.kind: {{choices: [dropout, span_crop]}}
  encoder.pooling: {{choices: [cls, avg_last2], when: {when}}}
"""
    said = one_problem(tmp_path, text)
    assert "sweep.yaml:7: search.encoder.pooling.when" in said
    assert words in said


def test_every_circle_is_named_once(tmp_path: Path) -> None:
    text = f"""{SMALL}search:
  encoder.pooling: {{choices: [cls, avg_last2], when: {{views.kind: dropout}}}}
  views.kind: {{choices: [dropout, span_crop], when: {{precision: fp32}}}}
  precision: {{choices: [fp32, bf16], when: {{encoder.pooling: cls}}}}
  views.rate: {{choices: [0.1, 0.2], when: {{optim.batch_size: 8}}}}
  optim.batch_size: {{choices: [8, 16], when: {{views.rate: 0.1}}}}
"""
    refused = refusal(tmp_path, text)
    assert len(refused.problems) == 2
    said = str(refused)
    ways = ["encoder.pooling waits for views.kind", "views.kind waits for precision", "precision waits for encoder.poo"]
    assert sum(way in said for way in ways) >= 2
    assert "optim.batch_size waits for views.rate" in said and "views.rate waits for optim.batch_size" in said


def test_conditions_that_leave_no_value_of_a_parent_are_refused(tmp_path: Path) -> None:
    text = f"""{SMALL}search:
  encoder.pooling: {{choices: [cls, avg_last2]}}
  views.kind: {{choices: [dropout, span_crop], when: {{encoder.pooling: cls}}}}
  views.rate: {{choices: [0.1, 0.2], when: {{views.kind: span_crop, encoder.pooling: avg_last2}}}}
"""
    said = one_problem(tmp_path, text)
    assert "search.views.rate.when: never asked" in said and "encoder.pooling" in said


def test_a_parent_that_set_fixes_settles_the_conditions_on_it(tmp_path: Path) -> None:
    met = load(tmp_path, SMALL + TEACHER + TREE, "encoder.pooling=cls", "loss.contrastive_weight=0.1")
    assert set(met.searched) == {"loss.temperature", "views.rate", "views.kind"}
    assert set(conditions(met)) == {"views.rate"}
    missed = load(tmp_path, SMALL + TEACHER + TREE, "encoder.pooling=max_last4")
    assert set(missed.searched) == {"loss.temperature", "loss.contrastive_weight"}
    assert trial_config(missed, {"loss.contrastive_weight": 0.1}).encoder.pooling == "max_last4"


def test_what_waits_for_a_knob_that_set_fixes_elsewhere_is_said_to_be_left_out(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL + TEACHER + TREE).left_out == ()
    assert load(tmp_path, SMALL + TEACHER + TREE, "encoder.pooling=max_last4").left_out == (
        "encoder.pooling is not searched: --set fixed it at 'max_last4'",
        "search.views.kind is left out: it waits for encoder.pooling 'cls', and --set fixed that at 'max_last4'",
        "search.optim.clip_norm is left out: it waits for views.kind, which is left out too",
        "search.views.rate is left out: it waits for views.kind, which is left out too",
    )
    met = load(tmp_path, SMALL + TEACHER + TREE, "encoder.pooling=cls")
    assert met.left_out == ("encoder.pooling is not searched: --set fixed it at 'cls'",)


@pytest.mark.parametrize("override", [(), ("loss.contrastive_weight=0.1",), ("loss.contrastive_weight=0.3",)])
def test_a_condition_is_checked_whether_or_not_set_fixes_what_it_waits_for(
    tmp_path: Path, override: tuple[str, ...]
) -> None:
    def said(when: str) -> list[str]:
        text = SMALL + TEACHER + TREE.replace("{loss.contrastive_weight: [0.1, 0.3]}", when)
        return [problem.message for problem in refusal(tmp_path, text, *override).problems]

    allowed = "cannot occur; loss.contrastive_weight has the choices 0.0, 0.1, 0.3"
    wrong = said("{loss.contrastive_weight: [0.2, yes, avg, null]}")
    assert wrong == [f"{value} {allowed}" for value in ("0.2", "'yes'", "'avg'", "null")]
    assert said("{loss.contrastive_weight: []}")[0].startswith("an empty list")
    ranged = TREE.replace("{choices: [0.0, 0.1, 0.3]}", "{low: 0.1, high: 0.3}")
    problems = refusal(tmp_path, SMALL + TEACHER + ranged, *override).problems
    assert [problem.message.partition(":")[0] for problem in problems] == ["needs choices"] * 2


def test_where_set_mends_what_a_condition_waits_for_its_values_are_any_of_the_knobs(tmp_path: Path) -> None:
    text = SMALL + TEACHER + TREE.replace("{choices: [0.0, 0.1, 0.3]}", "{choices: []}")
    assert "loss.temperature" in load(tmp_path, text, "loss.contrastive_weight=0.1").searched
    said = one_problem(tmp_path, text.replace("[0.1, 0.3]", "[0.1, -3]"), "loss.contrastive_weight=0.1")
    assert "when.loss.contrastive_weight[1]: -3 is not allowed; give a finite number from 0" in said


def test_a_resolved_spec_keeps_its_conditions(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + TEACHER + TREE)
    assert load(tmp_path, spec.to_yaml()) == spec


def test_a_value_whose_rule_holds_only_where_its_parents_ask_for_it_is_accepted(tmp_path: Path) -> None:
    """The weights are both 0 only where the second one is not asked."""
    text = f"""{SMALL}train: {{teacher: {{name: some/teacher}}, loss: {{distillation_weight: 1}}}}
search:
  loss.contrastive_weight: {{choices: [0.0, 1.0]}}
  loss.distillation_weight: {{choices: [0.0, 2.0], when: {{loss.contrastive_weight: 1.0}}}}
sampler: {{name: SAMPLER}}
"""
    load(tmp_path, text.replace("SAMPLER", "tpe"))
    grid = load(tmp_path, text.replace("SAMPLER", "grid").replace("trials: 3", ""))
    assert len(grid_points(grid)) == 3


def test_a_combination_that_cannot_occur_is_no_misfit(tmp_path: Path) -> None:
    text = f"""{SMALL}train: {{encoder: {{name: deep}}}}
search:
  encoder.name: {{choices: [deep, shallow]}}
  encoder.keep_layers: {{choices: [[0, 5]], when: {{encoder.name: deep}}}}
"""
    shapes = {"deep": Shape(6, 8), "shallow": Shape(2, 8)}
    for condition, told in ((True, 0), (False, 1)):
        spec = load(tmp_path, text if condition else text.replace(", when: {encoder.name: deep}", ""))
        notes: list[str] = []
        assert len(misfits(spec, shapes, notes)) == told
        assert not notes
