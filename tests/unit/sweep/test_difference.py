"""What two specs differ in, key by key, as far as it decides the trials."""

import itertools
from pathlib import Path

import pytest

from sweep.spec.difference import differences
from sweep.spec.sweep_spec import spec_hash
from tests.unit.sweep.specs import WHOLE, load

POINTS = "points: [{optim.batch_size: 64}, {encoder.pooling: avg_last2}]\n"
BOTH = "[avg_last_hidden, avg_last2]"
BATCH = "{low: 32, high: 128, step: 32}"
KEEP = "  encoder.keep_layers: {choices: [null, [0, 5]]}\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("high: 1e-3", "high: 2e-3", "search.optim.learning_rate.high was 0.001 and is 0.002"),
        ("log: true", "log: false", "search.optim.learning_rate.log was true and is false"),
        (BOTH, "[avg_last2, cls]", "search.encoder.pooling.choices lost 'avg_last_hidden' and gained 'cls'"),
        (BOTH, "[avg_last2, avg_last_hidden]", "search.encoder.pooling.choices has another order"),
        (BATCH, "{choices: [32, 64]}", f"search.optim.batch_size was {BATCH} and is {{choices: [32, 64]}}"),
        (KEEP, "", "search.encoder.keep_layers is gone; it was {choices: [null, '0,5']}"),
        (KEEP, KEEP + "  views.rate: {low: 0.1, high: 0.2}\n", "search.views.rate is new: {low: 0.1, high: 0.2}"),
        (
            "log: true",
            "log: true, when: {encoder.pooling: avg_last2}",
            "search.optim.learning_rate.when was null and is {encoder.pooling: ['avg_last2']}",
        ),
        ("25_600", "51_200", "train.budget.sentences was 25600 and is 51200"),
        ("name: tpe", "name: gp", "sampler.name was 'tpe' and is 'gp'"),
        ("{optim.batch_size: 64}", "{optim.batch_size: 32}", "points[0].optim.batch_size was 64 and is 32"),
        (", {encoder.pooling: avg_last2}", "", "points lost {encoder.pooling: 'avg_last2'}"),
    ],
)
def test_each_change_is_told_by_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = WHOLE + POINTS
    assert old in text
    (found,) = differences(load(tmp_path, text), load(tmp_path, text.replace(old, new)))
    assert found.startswith(told)


def test_every_change_has_a_line(tmp_path: Path) -> None:
    old, new = load(tmp_path, WHOLE), load(tmp_path, WHOLE, "sampler.name=gp", "sampler.seed=3", "optim.batch_size=8")
    assert differences(old, new) == [
        "train.optim.batch_size was 64 and is 8",
        f"search.optim.batch_size is gone; it was {BATCH}",
        "sampler.name was 'tpe' and is 'gp'",
        "sampler.seed was 0 and is 3",
    ]


def test_grids_are_compared_mapping_by_mapping(tmp_path: Path) -> None:
    text = "name: g\nobjective: {task: demo}\nsampler: {name: grid}\nsearch:\n"
    rates, poolings = "  - views.rate: {choices: [0.1, 0.2]}\n", "  - encoder.pooling: {choices: [cls, avg_last2]}\n"
    old = load(tmp_path, text + rates + poolings)
    changed = load(tmp_path, text + rates + poolings.replace("cls", "avg_last4"))
    assert differences(old, changed) == ["search[1].encoder.pooling.choices lost 'cls' and gained 'avg_last4'"]
    (gone,) = differences(old, load(tmp_path, text + rates))
    assert gone.startswith("search lost {encoder.pooling: ")
    (kind,) = differences(old, load(tmp_path, text + rates.replace("- ", "  ")))
    assert kind.startswith("search was ")


def test_there_is_a_difference_exactly_where_the_hashes_differ(tmp_path: Path) -> None:
    changes = [
        (),
        ("name=other", "description=x", "trials=99", "keep_best=1", "checkpoint_seconds=5", "data_dir=/elsewhere"),
        ("stop.target=80", "stop.wall_hours=1", "resources.cost_per_hour=2", "tracking_uri=http://host"),
        ("objective.metric=pearson",),
        ("objective.poolings=all",),
        ("scheduler.reduction_factor=3",),
        ("scheduler.axis=seconds",),
        ("scheduler.brackets=2",),
        ("sampler.seed=1",),
        ("sampler.warm_start=earlier",),
        ("seed=1",),
        ("data.corpus=/other.txt",),
        ("optim.batch_size=64",),
    ]
    specs = [load(tmp_path, WHOLE + POINTS, *change) for change in changes]
    rate = "  optim.learning_rate: {low: 1e-5, high: 1e-3, log: true}\n"
    assert rate in WHOLE
    specs.append(load(tmp_path, WHOLE.replace(rate, "").replace(KEEP, KEEP + rate) + POINTS))
    hashed = [(spec, spec_hash(spec)) for spec in specs]
    for (one, first), (other, second) in itertools.combinations_with_replacement(hashed, 2):
        assert bool(differences(one, other)) == (first != second)
