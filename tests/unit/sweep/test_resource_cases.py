"""`resources` of a spec: several workers, fractions of a GPU and cases; what cannot be meant is refused at its key."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from sweep.resources import ask_of
from sweep.spec.sweep_spec import json_schema
from tests.unit.sweep.specs import SMALL, load, one_problem, refusal


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("{gpus_per_worker: 1.5}", ["resources.gpus_per_worker: 1.5", "whole number, or a fraction below 1"]),
        ("{workers: 2, gpus_per_worker: 0.5}", ["0.5 is not allowed with 2 workers", "NCCL takes no two ranks"]),
        ("{workers: 0}", ["resources.workers", "from 1"]),
        ("{worker: 2}", ["resources.worker", "did you mean workers?"]),
        ("{gpus: 1}", ["resources.gpus", "did you mean gpus_per_worker?"]),
        (
            "{workers: 200}",
            ["resources.workers: 200 workers share a batch", "smallest has 64 sentences; give at most 64"],
        ),
        (
            "{workers: 2, cases: [{when: {optim.batch_size: {high: 100}}, workers: 65}]}",
            ["resources.cases[0].workers: 65 workers share a batch, and the smallest has 64 sentences"],
        ),
        (
            "{cases: [{when: {optim.batch_size: {low: 128, high: 64}}, workers: 2}]}",
            ["resources.cases[0].when.optim.batch_size: low, 128, is above high, 64"],
        ),
        (
            "{cases: [{when: {encoder.keep_layers: ['0, 5']}, workers: 2}]}",
            ["resources.cases[0].when.encoder.keep_layers: '0, 5' is written '0,5' here"],
        ),
        (
            "{cases: [{when: {optim.batch_size: [128]}}]}",
            ["resources.cases[0]: changes nothing", "workers, cpus_per_worker or gpus_per_worker"],
        ),
        (
            "{cases: [{when: {optim.batch_sise: [128]}, workers: 2}]}",
            ["resources.cases[0].when.optim.batch_sise", "is no knob", "did you mean optim.batch_size?"],
        ),
        (
            "{cases: [{when: {encoder.pooling: [clss]}, workers: 2}]}",
            ["resources.cases[0].when.encoder.pooling", "did you mean cls?"],
        ),
        (
            "{cases: [{when: {encoder.pooling: {low: 1}}, workers: 2}]}",
            ["encoder.pooling is no number and has no bounds; give its values in a list"],
        ),
        (
            "{cases: [{when: {optim.batch_size: {}}, workers: 2}]}",
            ["resources.cases[0].when.optim.batch_size: has no bound; give low, high or both"],
        ),
        ("{cases: [{workers: 2}]}", ["resources.cases[0].when: missing; give a mapping of knobs"]),
        ("{cases: [{when: {}, workers: 2}]}", ["resources.cases[0].when: {} is not allowed; give a mapping of knobs"]),
        (
            "{cases: [{when: {optim.batch_size: {least: 512}}, workers: 2}]}",
            [
                "resources.cases[0].when: {'optim.batch_size': {'least': 512}} is not",
                "lists of values or to {low, high}",
            ],
        ),
        (
            "{cases: [{when: {optim.batch_size: [512]}, worker: 2, gpus_per_worker: 1}]}",
            ["resources.cases[0].worker: no such key", "did you mean workers?"],
        ),
        ("{cases: [{when: {optim.batch_size: [512]}, workers: two}]}", ["resources.cases[0].workers", "'two'"]),
        (
            "{cases: [{when: {optim.batch_size: []}, workers: 2}]}",
            ["when.optim.batch_size: no value; give one or more"],
        ),
        ("{cases: [{when: {optim.batch_size: {low: '64'}}, workers: 2}]}", ["resources.cases[0].when", "'64'"]),
        ("{cases: [4]}", ["resources.cases[0]: 4 is not allowed; give a mapping with the keys when, workers"]),
        ("{cases: 4}", ["resources.cases: 4 is not allowed; give a list of mappings with the keys when, workers"]),
        (
            "{gpus_per_worker: 0.5, cases: [{when: {optim.batch_size: {low: 512}}, workers: 4}]}",
            ["resources.cases[0].gpus_per_worker", "0.5 is not allowed with 4 workers"],
        ),
    ],
)
def test_what_a_trial_may_not_take_is_refused_at_its_key(tmp_path: Path, resources: str, words: list[str]) -> None:
    said = one_problem(tmp_path, f"{SMALL}resources: {resources}\n")
    for word in words:
        assert word in said


def test_every_mistake_of_several_cases_is_said_at_once(tmp_path: Path) -> None:
    first = "{when: {optim.batch_size: [0]}, workers: 2}"
    second = "{when: {optim.learning_rat: {low: 1e-5}}, gpus_per_worker: 2.5}"
    refused = refusal(tmp_path, f"{SMALL}resources: {{workers: 1, cases: [{first}, {second}]}}\n")
    assert len(refused.problems) == 3
    for key in ("cases[0].when.optim.batch_size", "cases[1].when.optim.learning_rat", "cases[1].gpus_per_worker"):
        assert key in str(refused)


def test_a_mistake_in_the_form_of_a_case_hides_none_in_another_and_each_has_its_line(tmp_path: Path) -> None:
    cases = [
        "{when: {optim.batch_size: {lo: 64}}, workers: 2}",
        "4",
        "{when: {}, gpus: 1}",
        "{workers: two, when: {optim.batch_size: [64]}}",
        "{when: {optim.batch_sise: [64]}, gpus_per_worker: 1.5}",
        "{when: {optim.batch_size: {low: 64, high: 32}}, workers: 2}",
    ]
    lines = "".join(f"    - {case}\n" for case in cases)
    refused = refusal(tmp_path, f"{SMALL}resources:\n  cases:\n{lines}")
    first = SMALL.count("\n") + 3
    assert [(problem.line, problem.key) for problem in refused.problems] == [
        (first, "resources.cases[0].when"),
        (first + 1, "resources.cases[1]"),
        (first + 2, "resources.cases[2].gpus"),
        (first + 2, "resources.cases[2].when"),
        (first + 3, "resources.cases[3].workers"),
        (first + 4, "resources.cases[4].gpus_per_worker"),
        (first + 4, "resources.cases[4].when.optim.batch_sise"),
        (first + 5, "resources.cases[5].when.optim.batch_size"),
    ]


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{optim.batch_size: {low: 128}}", False),
        ("{optim.batch_size: [48]}", False),
        ("{optim.batch_size: {low: 33, high: 40}}", False),
        ("{optim.batch_size: {low: 33}}", True),
        ("{optim.learning_rate: {low: 1}}", False),
        ("{optim.learning_rate: {low: 5e-4, high: 6e-4}}", True),
        ("{encoder.pooling: [cls]}", False),
        ("{encoder.pooling: [avg_last_hidden], optim.batch_size: [32]}", True),
    ],
)
def test_a_case_that_no_trial_can_be_is_noted(tmp_path: Path, when: str, holds: bool) -> None:
    search = "search: {optim.batch_size: {choices: [32, 64]}, optim.learning_rate: {low: 1e-4, high: 1e-3}}\n"
    train = "train: {encoder: {pooling: avg_last_hidden}}\n"
    notes = load(tmp_path, f"{SMALL}{train}{search}resources: {{cases: [{{when: {when}, workers: 2}}]}}\n").left_out
    assert ("resources.cases[0] holds for no trial of this sweep" in notes) is not holds


def test_a_case_of_large_batches_may_have_more_workers_than_the_smallest_has_sentences(tmp_path: Path) -> None:
    search = "search: {optim.batch_size: {low: 64, high: 512, step: 64}}\n"
    case = "{{cases: [{{when: {{optim.batch_size: {{low: 150}}}}, workers: {workers}}}]}}"
    load(tmp_path, f"{SMALL}{search}resources: {case.format(workers=192)}\n")
    said = one_problem(tmp_path, f"{SMALL}{search}resources: {case.format(workers=193)}\n")
    assert "resources.cases[0].workers: 193 workers share a batch, and the smallest has 192 sentences" in said


def test_a_case_with_bounds_holds_for_both_ends(tmp_path: Path) -> None:
    case = "{when: {optim.batch_size: {low: 128, high: 256}}, workers: 2, cpus_per_worker: 4}"
    asked = load(tmp_path, f"{SMALL}resources: {{cases: [{case}]}}\n").resources
    workers = [ask_of(asked, {"optim.batch_size": size}).workers for size in (127, 128, 256, 257)]
    assert workers == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("resources", "is_valid"),
    [
        ({"workers": 4, "gpus_per_worker": 1}, True),
        ({"cases": [{"when": {"optim.batch_size": {"low": 512}}, "workers": 4}]}, True),
        ({"cases": [{"when": {"encoder.pooling": ["cls"]}, "gpus_per_worker": 1}]}, True),
        ({"workers": 0}, False),
        ({"gpus": 1}, False),
        ({"cases": [{"workers": 4}]}, False),
        ({"cases": [{"when": {"optim.batch_size": {"least": 512}}, "workers": 4}]}, False),
    ],
)
def test_the_json_schema_says_the_same_to_an_editor(resources: dict[str, object], is_valid: bool) -> None:
    schema = json.loads(json.dumps(json_schema()))
    spec = {"name": "s", "objective": {"task": "demo"}, "trials": 3, "resources": resources}
    assert jsonschema.Draft202012Validator(schema).is_valid(spec) is is_valid
