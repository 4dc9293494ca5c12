"""`--set KEY=VALUE`: what it changes, and what is refused."""

from pathlib import Path

import pytest

from tests.unit.sweep.specs import SMALL, WHOLE, load, one_problem


def test_set_changes_a_knob_and_takes_it_out_of_the_search(tmp_path: Path) -> None:
    spec = load(tmp_path, WHOLE, "optim.learning_rate=3e-4", "encoder.keep_layers=0", "trials=2", "scheduler.grace=100")
    assert spec.train.optim.learning_rate == 0.0003
    assert spec.train.encoder.keep_layers == (0,)
    assert spec.searched == ("optim.batch_size", "encoder.pooling")
    assert (spec.trials, spec.scheduler.grace) == (2, 100)
    assert load(tmp_path, WHOLE, "encoder.keep_layers=null").train.encoder.keep_layers is None
    assert load(tmp_path, WHOLE, "name=007").name == "007"


def test_set_repairs_a_mistake_of_the_file(tmp_path: Path) -> None:
    assert (
        load(tmp_path, f"{SMALL}train: {{optim: {{batch_size: no}}}}\n", "optim.batch_size=8").train.optim.batch_size
        == 8
    )
    load(tmp_path, SMALL + "search: {loss.temperature: {low: 2, high: 1}}\n", "loss.temperature=0.1")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loss.temprature=3", "did you mean loss.temperature?"),
        ("learning_rate=3", "did you mean optim.learning_rate?"),
        ("trails=3", "did you mean trials?"),
        ("trials", "KEY=VALUE"),
        ("trials=many", "a whole number from 1"),
        ("optim.batch_size=1", "from 2"),
        ("search.seed=1", "edit the file"),
        ("points=[]", "edit the file"),
        ("stop.wall_hours=0", "above 0"),
        ("stop.wal_hours=1", "did you mean stop.wall_hours?"),
        ("sampler.name=gird", "did you mean grid?"),
        ("objective.split=test", "opened once"),
    ],
)
def test_a_mistaken_override_is_named_in_place_of_a_line(tmp_path: Path, override: str, words: str) -> None:
    said = one_problem(tmp_path, WHOLE, override)
    assert said.startswith(f"--set {override}: ")
    assert words in said


def test_set_reaches_the_limits_and_lists_of_names(tmp_path: Path) -> None:
    changes = ("stop.wall_hours=0.5", "stop.target=80", "keep_best=2", "sampler.warm_start=[first, 007]")
    spec = load(tmp_path, WHOLE, *changes)
    assert (spec.stop.wall_hours, spec.stop.target, spec.keep_best) == (0.5, 80, 2)
    assert spec.sampler.warm_start == ("first", "007")
    for nothing in ("[]", ""):
        assert load(tmp_path, WHOLE, *changes, f"sampler.warm_start={nothing}").sampler.warm_start == ()
