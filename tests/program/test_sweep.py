"""One small sweep from a YAML file to an exported encoder, and every command that reads it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

SPEC = """
name: small
train:
  encoder: {name: ./encoder, keep_layers: [0, 5], pooling: avg_last_hidden}
  data: {corpus: [corpus.txt]}
  optim: {batch_size: 16}
  budget: {sentences: 256}
search:
  optim.learning_rate: {low: 1e-4, high: 1e-2, log: true}
  loss.temperature: {choices: [0.05, 0.5]}
  encoder.pooling: {choices: [avg_last_hidden, avg_first_last]}
sampler: {name: tpe, startup_trials: 3}
scheduler: {name: asha, grace: 64, reduction_factor: 2}
objective: {task: demo, split: dev}
trials: 6
resources: {concurrent: 1}
"""


@pytest.fixture(scope="module")
def sweep(workshop, stsweep):
    (workshop / "small.yaml").write_text(SPEC)
    ran = stsweep("run", "small.yaml", "--name", "small")
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def status(sweep, stsweep):
    return json.loads(stsweep("status", "small", "--json").stdout)


def test_every_trial_completed_or_was_stopped_at_a_rung(status):
    states = [trial["state"] for trial in status["trial"]]
    assert len(states) == 6
    assert set(states) <= {"completed", "stopped"}
    assert "completed" in states
    for trial in status["trial"]:
        assert [row["rung"] for row in trial["rows"]] == [64, 128, 256][: len(trial["rows"])]
        assert (trial["state"] == "completed") == (len(trial["rows"]) == 3)


def test_asha_let_no_trial_on_that_was_below_the_median_of_its_rung(status):
    """With reduction factor 2 a trial that goes on was at least at the median of those that came before it.

    One trial at a time, so that the order of the rows is the order in which ASHA saw them.
    """
    first = sorted((trial["rows"][0]["time"], trial["number"]) for trial in status["trial"])
    score = {trial["number"]: trial["rows"][0]["score"] for trial in status["trial"]}
    went_on = {trial["number"] for trial in status["trial"] if len(trial["rows"]) > 1}
    for place, (_, number) in enumerate(first):
        before = [score[other] for _, other in first[:place]]
        assert (number in went_on) == (not before or score[number] >= np.percentile(before, 50))


def test_optuna_was_told_pruned_for_stopped_trials_and_complete_for_completed_ones(status, workshop):
    log = JournalStorage(JournalFileBackend(f"{workshop}/sweeps/small/study.log"))
    study = optuna.load_study(study_name="small", storage=log)
    told = {trial.number: trial.state.name for trial in study.trials}
    expected = {"completed": "COMPLETE", "stopped": "PRUNED"}
    assert told == {trial["number"]: expected[trial["state"]] for trial in status["trial"]}
    for trial in status["trial"]:
        values = study.trials[trial["number"]].intermediate_values
        assert values == {row["rung_index"]: row["score"] for row in trial["rows"]}


def test_mlflow_holds_a_parent_and_one_finished_child_a_trial(status, workshop):
    with sqlite3.connect(workshop / "sweeps" / "mlflow.db") as store:
        tags = store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'").fetchall()
        states = dict(store.execute("select run_uuid, status from runs").fetchall())
        scores = store.execute("select run_uuid, value from metrics where key = 'score'").fetchall()
    children, parents = {child for child, _ in tags}, {parent for _, parent in tags}
    assert len(children) == 6
    assert len(parents) == 1
    assert set(states.values()) == {"FINISHED"}
    logged = sorted(round(score, 6) for child, score in scores if child in children)
    assert logged == sorted(round(row["score"], 6) for trial in status["trial"] for row in trial["rows"])


def test_the_best_trial_is_the_highest_of_those_that_reached_the_top(status, stsweep):
    best = json.loads(stsweep("best", "small", "--json").stdout)
    tops = {trial["number"]: trial["rows"][-1]["score"] for trial in status["trial"] if trial["state"] == "completed"}
    assert best["number"] == max(tops, key=tops.__getitem__)
    assert set(best["baselines"]) == {"untrained", "lexical"}


def test_what_it_printed_names_the_next_commands_and_the_busy_share(sweep):
    assert "Next: stsweep export small" in sweep.stdout
    assert "workers busy" in sweep.stdout
    assert "\x1b[" not in sweep.stderr, "no terminal, so plain lines"


def test_compare_lists_every_trial_with_the_searched_knobs(stsweep, sweep):
    rows = json.loads(stsweep("compare", "small", "--json").stdout)
    assert len(rows) == 6
    assert {"trial", "state", "score", "optim.learning_rate", "loss.temperature", "encoder.pooling"} <= set(rows[0])
    assert json.loads(stsweep("ls", "--json").stdout)[0]["name"] == "small"


def test_the_exported_folder_gives_sentence_transformers_the_same_embeddings(stsweep, sweep, workshop):
    from sentence_transformers import SentenceTransformer

    from model.encoder import load_encoder, saved_config

    exported = stsweep("export", "small", "--json")
    assert exported.returncode == 0, exported.stderr
    folder = Path(json.loads(exported.stdout)["folder"])
    folder = folder if folder.is_absolute() else workshop / folder
    sentences = ["A cat sleeps on the warm step.", "Rain.", "He cooked rice and beans for all of his friends."]
    number = json.loads(stsweep("best", "small", "--json").stdout)["number"]
    trained = load_encoder(saved_config(workshop / "sweeps/small/trials" / f"{number:04d}" / "encoder"))
    np.testing.assert_allclose(SentenceTransformer(str(folder)).encode(sentences), trained.encode(sentences), atol=1e-5)
    again = stsweep("export", "small")
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_the_exported_configuration_trains_to_the_same_score(stsweep, sweep, workshop):
    """The winner of a one-slot run has the same bits; with two slots the row's score is that of the same weights."""
    stsweep("export", "small", "--out", "again")
    trained = stsweep("train", "again/config.yaml", "--out", "retrained")
    assert trained.returncode == 0, trained.stderr
    best = json.loads(stsweep("best", "small", "--json").stdout)
    assert f"{best['score']:.2f}" in trained.stdout


def test_a_name_that_exists_is_refused_and_nothing_of_it_changes(stsweep, sweep, workshop):
    folder = workshop / "sweeps" / "small"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = stsweep("run", "small.yaml", "--name", "small")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert "--name small-2" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_eval_gives_the_winner_its_dev_score_again_beside_the_untrained_encoder_and_the_floor(stsweep, sweep):
    best = json.loads(stsweep("best", "small", "--json").stdout)
    rows = json.loads(stsweep("eval", "--sweep", "small", "--split", "dev", "--json").stdout)["scores"]
    scores = {row["encoder"]: row["spearman"] for row in rows}
    assert list(scores) == [f"small {best['number']:04d}", "untrained", "lexical"]
    assert scores[f"small {best['number']:04d}"] == pytest.approx(best["score"], abs=0.05)
    assert scores["lexical"] == pytest.approx(best["baselines"]["lexical"], abs=0.05)


BROKEN = """
name: broken
train:
  encoder: {name: ./encoder}
  data: {corpus: [corpus.txt]}
  optim: {batch_size: 16}
  budget: {sentences: 128}
search:
  encoder.name: {choices: [./encoder, ./cut]}
sampler: {name: grid}
scheduler: {name: none}
objective: {task: demo, split: dev}
"""


@pytest.fixture(scope="module")
def cut(workshop):
    """An encoder that is there and cannot be loaded."""
    shutil.copytree(workshop / "encoder", workshop / "cut")
    tokenizer = workshop / "cut" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text()[:200])


@pytest.mark.usefixtures("cut")
def test_a_trial_that_fails_before_its_first_rung_ends_itself_and_not_the_sweep(workshop, stsweep):
    (workshop / "broken.yaml").write_text(BROKEN)
    ran = stsweep("run", "broken.yaml")
    assert ran.returncode == 0, ran.stderr
    trials = json.loads(stsweep("status", "broken", "--json").stdout)["trial"]
    assert [trial["state"] for trial in trials] == ["completed", "errored"]
    assert trials[1]["rows"] == []
    assert "tokenizer" in trials[1]["reason"] or "Traceback" in trials[1]["reason"]


@pytest.mark.usefixtures("cut")
def test_five_faults_in_a_row_close_the_sweep_which_is_no_success(workshop, stsweep):
    rates = "  optim.learning_rate: {choices: [1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 6e-5, 7e-5]}"
    text = BROKEN.replace("name: broken", "name: faults").replace("search:\n", "resources: {concurrent: 1}\nsearch:\n")
    (workshop / "faults.yaml").write_text(text.replace("./cut]}\n", f"./cut]}}\n{rates}\n"))
    ran = stsweep("run", "faults.yaml")
    assert ran.returncode == 130, ran.stderr
    states = [trial["state"] for trial in json.loads(stsweep("status", "faults", "--json").stdout)["trial"]]
    assert states == 7 * ["completed"] + 5 * ["errored"]
    assert "closed: 5 trials in a row failed, the last by" in ran.stdout
    assert "0 trials unfinished, 2 not begun" in ran.stdout
    assert "to go on: stsweep resume faults" in ran.stdout
