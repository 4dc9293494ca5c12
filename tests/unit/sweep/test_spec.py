"""Sweep files: what is accepted, what is refused, with which line and which words."""

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from model.config import TrainConfig, knob_names
from sweep.spec.sweep_spec import json_schema, rungs, spec_hash
from sweep.spec.yaml_file import read_yaml
from tests.unit.sweep.specs import SMALL, WHOLE, load, one_problem, refusal

GRID = "name: g\nobjective: {task: demo}\nsampler: {name: grid}\n"


def searching(line: str) -> str:
    return f"{SMALL}search:\n  {line}\n"


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    spec = load(tmp_path, WHOLE)
    assert spec.train.encoder.keep_layers == (0, 5)
    assert spec.train.budget.sentences == 25_600
    assert spec.searched == ("optim.learning_rate", "optim.batch_size", "encoder.pooling", "encoder.keep_layers")
    assert rungs(spec) == (6400, 12800, 25600)


def test_nine_mistakes_are_told_in_one_message_with_their_lines(tmp_path: Path) -> None:
    text = """\
name: Quick Start
train:
  encoder: {poling: cls}
  optim: {learning_rate: -1}
  precision: fp8
  budget: {sentences: 1000}
search:
  loss.temprature: {low: 0.01, high: 0.1}
  optim.batch_size: {low: 128, high: 32}
scheduler: {name: asha, grace: 2000}
objective: {task: demo, split: test}
trials: ten
"""
    refused = refusal(tmp_path, text)
    told = [(problem.line, problem.key) for problem in refused.problems]
    assert told == [
        (1, "name"),
        (3, "train.encoder.poling"),
        (4, "train.optim.learning_rate"),
        (5, "train.precision"),
        (8, "search.loss.temprature"),
        (9, "search.optim.batch_size.high"),
        (10, "scheduler.grace"),
        (11, "objective.split"),
        (12, "trials"),
    ]
    said = str(refused)
    assert said.startswith("9 problems:")
    for words in (
        "did you mean pooling?",
        "give a finite number above 0",
        "give one of auto, fp32, bf16, fp16",
        "did you mean loss.temperature?",
        "reversed",
        "give 1 to 999",
        "opened once",
        "a whole number from 1",
    ):
        assert words in said
    assert said.splitlines()[-1].startswith("Next: ") and "stsweep check" in said
    assert int(refused.exit_code) == 2
    for raw in ("pydantic", "Input should", "validation error", "errors.pydantic.dev", "extra_forbidden"):
        assert raw not in said


def test_an_unknown_pooling_among_choices_is_answered_with_all_fourteen_and_the_nearest(tmp_path: Path) -> None:
    said = one_problem(tmp_path, searching("encoder.pooling: {choices: [cls, avg_lst4]}"))
    assert "sweep.yaml:5: search.encoder.pooling.choices[1]: 'avg_lst4'" in said
    assert "did you mean avg_last4?" in said
    for name in ("cls", "avg_second_to_last_hidden", "max_first_last", "concat_last4"):
        assert name in said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("loss.temperature: {low: 0.1, high: 0.1}", "equal"),
        ("loss.temperature: {low: 0.2, high: 0.1}", "reversed"),
        ("loss.temperature: {low: 0.1, high: .inf}", "finite"),
        ("loss.temperature: {low: 0.1}", "missing"),
        ("loss.temperature: {low: 0.1, high: 0.2, setp: 0.1}", "did you mean step?"),
        ("loss.temperature: {low: -1, high: 1}", "a finite number above 0"),
        ("loss.temperature: {low: a, high: 1}", "finite number"),
        ("loss.temperature: {low: true, high: 1}", "finite number"),
        ("loss.temperature: {low: 0.1, high: 0.3, step: 0.1, log: true}", "exclude each other"),
        ("loss.temperature: {low: 0.1, high: 0.35, step: 0.1}", "lower high to 0.3 or raise high to 0.4"),
        (
            "loss.temperature: {low: 0.1, high: 0.35, step: 0.3}",
            "the range from 0.1 to 0.35; give at most 0.25",
        ),
        (f"optim.batch_size: {{low: 16, high: 64, step: 1{'0' * 400}}}", "more than the range from 16 to 64"),
        ("loss.temperature: {low: 0.1, high: 0.2, step: 0}", "above 0"),
        ("optim.weight_decay: {low: 0, high: 1, log: true}", "logarithm"),
        ("optim.batch_size: {low: 32, high: 64.5}", "whole number"),
        ("optim.batch_size: {low: 32, high: 64, step: 0.5}", "whole step"),
        ("optim.batch_size: {low: 1, high: 64}", "from 2"),
        ("optim.batch_size: {low: 32, high: 10000000}", "budget.sentences, 1920000"),
        ("encoder.pooling: {low: 0, high: 1}", "choices"),
        ("encoder.pooling: {choices: []}", "at least one value"),
        ("encoder.pooling: {choices: cls}", "at least one value"),
        ("encoder.pooling: {choices: [cls, cls]}", "twice"),
        ("optim.batch_size: {choices: [64, 64.0]}", "twice"),
        ("encoder.pooling: {choices: [cls], low: 1}", "low"),
        ("encoder.pooling: [cls, avg_last2]", "{choices: ['cls', 'avg_last2']}"),
        ("encoder.pooling: cls", "train"),
        ("encoder.keep_layers: {choices: [[0, 0]]}", "names each once"),
        ("budget.sentences: {choices: [100, 200]}", "may not be searched"),
        ("seed: {low: 0, high: 9}", "luck"),
        ("data.corpus: {choices: [demo]}", "may not be searched"),
        ("temperature: {low: 0.1, high: 0.2}", "did you mean loss.temperature?"),
        ("loss.contrastive_weight: {choices: [0, 1]}", "nothing to minimise"),
        ("loss.distillation_weight: {low: 0, high: 1}", "teacher.name is not given"),
    ],
)
def test_a_mistaken_distribution_is_refused_once_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    said = one_problem(tmp_path, searching(line))
    assert "sweep.yaml:5: search." in said
    assert words in said


def test_a_misspelt_key_of_a_range_hides_none_of_its_other_mistakes(tmp_path: Path) -> None:
    said = refusal(tmp_path, searching("optim.learning_rate: {low: 1e-3, high: 1e-4, lg: true}")).problems
    assert [problem.key for problem in said] == [f"search.optim.learning_rate.{key}" for key in ("lg", "high")]
    assert "did you mean log?" in said[0].message and "reversed" in said[1].message
    said = refusal(tmp_path, searching("optim.batch_size: {low: 1, high: 64, step: big}")).problems
    assert [problem.key for problem in said] == [f"search.optim.batch_size.{key}" for key in ("step", "low")]


@pytest.mark.parametrize(
    ("uri", "scheme", "near"),
    [
        ("ftp://user:secret@host", "ftp", ""),
        ("htpp://host:5000", "htpp", "; did you mean http?"),
        ("postgres://user:secret@host/runs", "postgres", "; did you mean postgresql?"),
        ("localhost:5000", "localhost", ""),
        ("./mlruns", "./mlruns", ""),
        ("file:///tmp/mlruns", "file", ""),
    ],
)
def test_a_tracking_store_that_mlflow_cannot_write_to_is_refused_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, scheme: str, near: str
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    (problem,) = refusal(tmp_path, f"{SMALL}tracking_uri: {uri}\n").problems
    assert (problem.key, problem.line) == ("tracking_uri", 4)
    assert f"'{scheme}' is no store" in problem.message and "secret" not in problem.message
    assert problem.message.endswith(f"mssql, databricks{near}")


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000", "HTTPS://host", "sqlite:///runs.db", "postgresql+psycopg2://u:p@host/runs", "databricks"],
)
def test_a_tracking_store_of_mlflow_is_accepted(tmp_path: Path, uri: str) -> None:
    assert load(tmp_path, f"{SMALL}tracking_uri: {uri}\n").tracking_uri


def test_steps_written_in_decimals_that_meet_the_bound_are_accepted(tmp_path: Path) -> None:
    load(tmp_path, searching("loss.temperature: {low: 0.1, high: 0.7, step: 0.1}"))


def test_two_weights_that_save_each_other_may_both_be_searched_down_to_zero(tmp_path: Path) -> None:
    text = f"""{SMALL}train:
  teacher: {{name: some/teacher}}
search:
  loss.contrastive_weight: {{choices: [0, 1]}}
  loss.distillation_weight: {{choices: [0, 1]}}
"""
    load(tmp_path, text)
    several = refusal(tmp_path, text.replace("trials: 3", "sampler: {name: grid}"))
    assert "both 0" in str(several), "a grid runs every point, the one with both at 0 too"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("trails: 3", "did you mean trials?"),
        ("learning_rate: 1", "did you mean optim.learning_rate?"),
        ("loss.temperature: 1", "train: {loss: {temperature: …}}"),
        ("sampler: {name: tpee}", "did you mean tpe?"),
        ("sampler: tpe", "a mapping with the keys name, startup_trials"),
        ("scheduler: {name: ahsa}", "did you mean asha?"),
        ("scheduler: {name: asha}", "scheduler.grace: missing"),
        ("scheduler: {name: asha, grace: 10, reduction_factor: 1}", "above 1"),
        ("resources: {gpus_per_worker: 1.5}", "fraction below 1"),
        ("resources: {cpus_per_worker: 0}", "above 0"),
        ("train: {loss: {distillation_weight: 1}}", "teacher.name"),
        ("train: {optim: {batch_size: '64'}}", "'64' is not allowed; give a whole number"),
        ("train: {optim: {batch_size: 64.5}}", "whole number"),
        ("train: {optim: {learning_rate: .nan}}", "finite"),
        ("train: {seed: true}", "true is not allowed"),
        ("train: {encoder: {keep_layers: [0, a]}}", "a list of whole numbers or null"),
        ("train: {encoder: }", "null is not allowed; give a mapping"),
        ("train: {optim: {batch_size: 100}, budget: {sentences: 50}}", "budget.sentences, 50"),
        ("search: []", "needs `sampler: {name: grid}`"),
        ("search: 3", "mapping"),
        ("description: !!str three", "tag"),
    ],
)
def test_a_mistaken_setting_is_refused_once_with_its_line(tmp_path: Path, lines: str, words: str) -> None:
    said = one_problem(tmp_path, f"{SMALL}{lines}\n")
    assert "sweep.yaml:4: " in said
    assert words in said


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("{task: stbs}", "did you mean stsb?"),
        ("{task: stsb, split: dve}", "did you mean dev?"),
        ("{task: stsb, split: test}", "choose on train or dev"),
        ("{task: sts15}", "only a test split"),
        ("{task: demo, metric: kendall}", "spearman, pearson"),
    ],
)
def test_an_objective_that_cannot_be_chosen_on_is_refused(tmp_path: Path, objective: str, words: str) -> None:
    assert words in one_problem(tmp_path, f"name: s\ntrials: 3\nobjective: {objective}\n")


def test_a_missing_name_or_number_of_trials_is_told(tmp_path: Path) -> None:
    refused = refusal(tmp_path, "objective: {task: demo}\n")
    assert [problem.key for problem in refused.problems] == ["name", "trials"]


def test_a_grid_counts_its_own_points(tmp_path: Path) -> None:
    search = "search:\n  - {optim.batch_size: {choices: [64, 128]}}\n  - {loss.temperature: {choices: [0.05, 0.1]}}\n"
    load(tmp_path, GRID + search)
    assert "number of points of this grid, 3" in one_problem(tmp_path, f"{GRID}{search}trials: 4\n")
    ranged = f"{GRID}search:\n  - loss.temperature: {{low: 0.1, high: 0.2}}\n"
    assert "a grid needs {choices: […]}" in one_problem(tmp_path, ranged)


def test_a_resolved_spec_reads_back_to_an_equal_one(tmp_path: Path) -> None:
    grid = (
        GRID + "search: [{encoder.keep_layers: {choices: [null, [0, 5]]}}, {optim.learning_rate: {choices: [1e-5]}}]\n"
    )
    for text in (WHOLE, SMALL, grid):
        spec = load(tmp_path, text)
        assert load(tmp_path, spec.to_yaml()) == spec


def test_the_hash_follows_what_decides_scores_and_nothing_else(tmp_path: Path) -> None:
    base = spec_hash(load(tmp_path, WHOLE))
    apart = (
        "name=other",
        "trials=99",
        "resources.cpus_per_worker=2",
        "resources.cost_per_hour=2",
        "data_dir=/elsewhere",
    )
    for same in (*apart, "stop.target=80", "stop.wall_hours=1", "keep_best=1", "checkpoint_seconds=1"):
        assert spec_hash(load(tmp_path, WHOLE, same)) == base
    trials = ("loss.temperature=0.06", "scheduler.grace=3200", "optim.batch_size=32", "sampler.name=random")
    for other in (*trials, "scheduler.axis=seconds", "scheduler.name=median", "sampler.warm_start=earlier"):
        assert spec_hash(load(tmp_path, WHOLE, other)) != base


def test_the_schema_accepts_good_files_refuses_bad_ones_and_names_every_knob(tmp_path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    spec = load(tmp_path, WHOLE)
    for text in (WHOLE, spec.to_yaml()):
        (tmp_path / "sweep.yaml").write_text(text)
        jsonschema.validate(read_yaml(tmp_path / "sweep.yaml").data, schema)
    for bad in ({"name": "x", "foo": 1}, {"name": "x", "search": {"loss.temprature": {"low": 1, "high": 2}}}, {}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    knobs = set(schema["$defs"]["Grid"]["properties"])
    assert set(knob_names()) - knobs == {"budget.sentences", "seed", "data.corpus"}
    assert all(described["description"] for described in schema["$defs"]["Grid"]["properties"].values())


def test_the_defaults_of_train_are_those_of_the_config(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL).train.replace({"data.corpus": "demo"}) == TrainConfig()


def test_reading_a_spec_loads_no_heavy_library() -> None:
    code = (
        "import sys, sweep.spec.sweep_spec, sweep.spec.space, sweep.spec.check; "
        "print([m for m in ('torch', 'ray', 'optuna', 'mlflow', 'transformers', 'scipy') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
