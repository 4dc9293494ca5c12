"""Bad input: one clear message on stderr, exit code 2, or 3 when something cannot be reached; nothing begins."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

import search_spaces
from sweep.cli import main
from sweep.record import Record
from sweep.spec.sweep_spec import load_spec, rungs

SPEC = """\
name: bad
train:
  encoder: {name: ./encoder, keep_layers: [0, 5]}
  data: {corpus: [corpus.txt]}
  optim: {batch_size: 16}
  budget: {sentences: 256}
search:
  optim.learning_rate: {low: 1e-4, high: 1e-2, log: true}
  loss.temperature: {choices: [0.05, 0.5]}
scheduler: {name: asha, grace: 64, reduction_factor: 2}
objective: {task: demo, split: dev}
trials: 6
sampler: {startup_trials: 3}
"""
RATE = "optim.learning_rate: {low: 1e-4, high: 1e-2, log: true}"
CHOICES = "loss.temperature: {choices: [0.05, 0.5]}"
LINES = b"".join(b"Sentence number %d stands here.\n" % number for number in range(40))
CORPORA = {
    "corpus.txt": LINES,
    "empty.txt": b"",
    "blank.txt": b"\n \n\t\n",
    "latin.txt": b"one\ntwo caf\xe9\n",
    "cut.txt": LINES + "caf\u00e9".encode()[:-1],
    "open.txt": LINES[:-1],
    "three.txt": b"a b\nc d\ne f\n",
    "one.txt": b"a b\n" * 9,
    "nul.txt": b"a\0b\n",
    "utf16.txt": "hello\nthere\n".encode("utf-16"),
}
PAIR = "main\tforum\t2015\t1\t{}\ta b\tc d\n"


def encoder_folder(folder: Path) -> None:
    """As much of an encoder as can be judged without loading it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "distilbert", "n_layers": 6, "dim": 32}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "vocab.txt").write_text("[UNK]\n")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with a spec that passes `check`, corpora with a fault each, and a root with one sweep in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for variable in ("STSWEEP_DATA", "STSWEEP_ROOT", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    encoder_folder(tmp_path / "encoder")
    (tmp_path / "spec.yaml").write_text(SPEC)
    for name, content in CORPORA.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "data" / "STS" / "STSBenchmark").mkdir(parents=True)
    (tmp_path / "folder.yaml").mkdir()
    about = {"objective": "demo dev spearman", "rungs": [64, 256], "searched": [], "trials": 6}
    Record.create(tmp_path / "sweeps", "taken", SPEC, about).release()
    (tmp_path / "sweeps" / "notes.txt").write_text("mine\n")
    return tmp_path


@pytest.fixture
def refused(world, monkeypatch, capsys):
    """Run a command that must be refused; returns what it says, after looking that nothing has begun or changed."""

    def command(*arguments: str, code: int = 2) -> str:
        before, loaded = _tree(world), "ray" in sys.modules
        monkeypatch.setattr(sys, "argv", ["stsweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code == code, printed.err
        assert printed.out == ""
        assert printed.err.removeprefix("note: --address auto is 192.0.2.77:6379\n").startswith("stsweep: ")
        assert printed.err.count("stsweep: ") == 1
        assert "\nNext: " in printed.err
        assert "Traceback" not in printed.err
        assert _tree(world) == before
        assert ("ray" in sys.modules) == loaded
        return printed.err

    return command


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("command", [("check",), ("run", "--name", "new")], ids=["check", "run"])
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("data.corpus=corpsu.txt", 2, "no such file; did you mean"),
        ("data.corpus=empty.txt", 2, "holds no sentence (0 bytes)"),
        ("data.corpus=blank.txt", 2, "holds no sentence (5 bytes)"),
        ("data.corpus=latin.txt", 2, "line 2, byte 11: 0xe9 is not UTF-8"),
        ("data.corpus=utf16.txt", 2, "iconv -f UTF-16"),
        ("data.corpus=nul.txt", 2, "line 1, byte 1: NUL"),
        ("data.corpus=cut.txt", 2, "ends inside a UTF-8 character"),
        ("data.corpus=open.txt", 2, "the last line (line 40) has no line end"),
        ("data.corpus=one.txt", 2, "1 distinct sentence is too few; a batch takes at least 2"),
        ("data.corpus=encoder", 2, "is a folder"),
        ("data.corpus=$STSWEEP_NOWHERE", 2, "the variable STSWEEP_NOWHERE is not set"),
        ("optim.batch_size=64", 2, "a batch of 64 is more than the corpus, 40 distinct sentences; give at most 40"),
        ("encoder.pooling=avg_last5", 2, "give one of cls, avg_last_hidden"),
        ("encoder.keep_layers=0,6", 2, "give 0 to 5, or -6 to -1"),
        ("objective.metric=kendall", 2, "give one of spearman, pearson"),
        ("objective.task=stsbb", 2, "did you mean stsb?"),
        ("objective.split=devv", 2, "did you mean dev?"),
        ("objective.split=test", 2, "stsweep eval"),
        ("sampler.name=tpo", 2, "did you mean tpe?"),
        ("scheduler.name=ash", 2, "did you mean asha?"),
        ("loss.temprature=1", 2, "did you mean loss.temperature?"),
        ("frobnicate=1", 2, "keys: "),
        ("=1", 2, "keys: "),
        ("trials", 2, "no '='; give KEY=VALUE"),
        ("", 2, "no '='; give KEY=VALUE"),
        ("trials=0", 2, "give a whole number from 1"),
        ("optim.learning_rate=nan", 2, "give a finite number above 0"),
        ("optim.learning_rate=.inf", 2, "give a finite number above 0"),
        ("resources.gpus_per_worker=64", 2, "a worker asks 64 GPUs and there"),
        ("resources.cpus_per_worker=4096", 2, "a worker asks 4096 CPUs and there"),
        ("objective.task=stsb", 2, "--data-dir FOLDER"),
        ("encoder.name=./encoders", 3, "did you mean"),
        ("encoder.name=no-one/nothing", 3, "hf download no-one/nothing"),
        ("teacher.name=no-one/nothing", 3, "hf download no-one/nothing"),
        ("encoder.name=package:not_there", 3, "pip install not-there"),
        ("encoder.name=folder.yaml", 2, "has no config.json"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_where_it_came_from(refused, command, change, code, said):
    message = refused(command[0], "spec.yaml", *command[1:], "--set", change, code=code)
    assert said in message
    assert f"--set {change}:" in message
    assert "Next: correct it, then: stsweep check spec.yaml" in message


def test_a_corpus_smaller_than_a_batch_is_refused_with_the_line_of_the_batch(refused):
    message = refused("check", "spec.yaml", "--set", "data.corpus=three.txt")
    assert "spec.yaml:5: optim.batch_size: a batch of 16 is more than the corpus, 3 distinct sentences; " in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (CHOICES, "loss.temprature: {choices: [1]}", ":9: search.loss.temprature: no such knob; did you mean"),
        (RATE, "optim.learning_rate: {low: 1e-2, high: 1e-4}", ":8: search.optim.learning_rate.high: low 0.01 and"),
        (RATE, "optim.learning_rate: {low: 1e-4, high: .inf}", "high: inf is not allowed; give a finite number"),
        (RATE, "optim.learning_rate: {low: .nan, high: 1}", "low: nan is not allowed; give a finite number"),
        (RATE, "optim.learning_rate: {low: 0, high: 1, log: true}", "low: 0 is not allowed; give a finite number abov"),
        (RATE, "encoder.dropout: {low: 0, high: 0.3, log: true}", "the logarithm of low = 0.0 does not exist"),
        (CHOICES, "loss.temperature: {choices: []}", ":9: search.loss.temperature.choices: [] is not allowed"),
        (CHOICES, "loss.temperature:", "null is not a distribution"),
        (CHOICES, "optim.batch_size: {choices: [8, 41]}", ":9: optim.batch_size: a batch of 41 is more than the corp"),
        ("name: ./encoder", "name: ./encoders", ":3: encoder.name: there is no folder"),
        ("trials: 6", "trials: !!int 6", ":12: tag !!int is not allowed"),
        ("trials: 6", "trials: 6\ntrials: 7", ":13: 'trials' is given twice, first on line 12"),
        ("  optim: {", "\toptim: {", ":5: a tab in the indentation"),
        ("name: bad", "name: [bad", "not YAML"),
        ("name: bad", "name: Not This", ":1: name: 'Not This' is not allowed"),
        ("name: bad", "name: caf\udce9", ":1: not UTF-8: byte 0xe9 at offset 9"),
        (SPEC, "- name\n", ":1: not a mapping"),
        (SPEC, "", ":1: the file is empty"),
        (SPEC, LINES.decode(), ":1: not a mapping"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_its_line(refused, world, old, new, said):
    code = 3 if "encoders" in new else 2
    (world / "spec.yaml").write_bytes(SPEC.replace(old, new).encode(errors="surrogateescape"))
    message = refused("check", "spec.yaml", code=code)
    assert f"spec.yaml{said}" in message if said.startswith(":") else said in message
    assert "stsweep check spec.yaml" in message


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("spce.yaml", "no such file; did you mean spec.yaml?"),
        ("quikstart", "did you mean quickstart?; shipped: "),
        ("nowhere/spec.yaml", "no such file"),
        ("folder.yaml", "a folder, not a YAML file"),
        ("spec.yaml/x", "Not a directory"),
        ("s" * 300, "File name too long"),
        (sys.executable, "not UTF-8"),
    ],
    ids=["near", "shipped", "folder missing", "folder", "below a file", "long", "program"],
)
def test_a_spec_that_is_no_file_is_refused(refused, spec, said):
    assert said in refused("check", spec)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_spec_that_may_not_be_read_is_refused(refused, world):
    (world / "locked.yaml").touch(mode=0)
    assert "cannot be read: Permission denied" in refused("check", "locked.yaml")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2.5\ta b\tc d\n", "sts-dev.csv:1: 3 tab-separated column(s) where 7 or more are needed"),
        (PAIR.format(1) + PAIR.format("x"), "sts-dev.csv:2: gold 'x' is not a number; allowed is 0 to 5"),
        (PAIR.format("nan") * 2, "sts-dev.csv:1: gold nan is out of range"),
        (PAIR.format(1) + "\udce9\n", "sts-dev.csv:2: not UTF-8: byte 0xe9 at byte offset 28"),
        ("", "the file is empty"),
        (PAIR.format(1), "needs at least 2"),
        (PAIR.format(1) * 9, "every gold is 1"),
        (None, "no such file"),
    ],
)
def test_a_damaged_sts_file_is_refused_with_its_line(refused, world, rows, said):
    if rows is not None:
        (world / "data/STS/STSBenchmark/sts-dev.csv").write_bytes(rows.encode(errors="surrogateescape"))
    assert said in refused("check", "spec.yaml", "--set", "objective.task=stsb", "--data-dir", "data")


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("../x", "x"),
        ("a b", "a-b"),
        ("Mine", "mine"),
        ("a/b", "a-b"),
        ("", "sweep"),
        (".", "sweep"),
        ("-x", "x"),
        ("mlflow.db", "my-mlflow.db"),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_name_that_is_no_plain_folder_name_is_refused_with_one_that_is(refused, name, following):
    message = refused("run", "spec.yaml", f"--name={name}", "--root", "sweeps")
    assert message.startswith(f"stsweep: --name: {name[:80]!r} is not allowed; give ")
    assert message.endswith(f"Next: stsweep run spec.yaml --name {following}\n")


def test_a_name_that_exists_is_refused_with_a_free_one_and_the_root_to_type(refused, world):
    assert "--name taken-2, or stsweep status taken\n" in refused("run", "spec.yaml", "--name", "taken")
    assert "which is no sweep, exists" in refused("run", "spec.yaml", "--name", "notes.txt")
    (world / "sweeps").rename(world / "else where")
    message = refused("run", "spec.yaml", "--name", "taken", "--root", "else where")
    assert "--name taken-2 --root 'else where', or stsweep status taken --root 'else where'" in message


@pytest.mark.parametrize("command", [("check",), ("run", "--name", "new")], ids=["check", "run"])
@pytest.mark.parametrize("root", ["spec.yaml", "spec.yaml/x", "/proc/nowhere", "r" * 300, "broken"])
def test_a_root_that_cannot_be_written_to_is_refused(refused, world, command, root):
    (world / "broken").symlink_to("nowhere")
    assert "--root: " in refused(command[0], "spec.yaml", *command[1:], "--root", root)


@pytest.mark.parametrize("command", [("check",), ("run", "--name", "new")], ids=["check", "run"])
@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:1", "Connection refused"), ("ray://127.0.0.1:1", "Connection refused")],
)
def test_a_cluster_that_is_not_there_is_refused_before_the_sweep_has_a_folder(refused, command, address, why):
    message = refused(command[0], "spec.yaml", *command[1:], "--address", address, code=3)
    assert f"no Ray cluster answers at {address}" in message
    assert why in message


def test_a_mistake_beside_a_password_is_told_without_it(refused):
    given = ("--set", "tracking_uri=ftp://me:sekret@host/x")
    message = refused("run", "spec.yaml", "--set", "data.corpus=empty.txt", *given)
    assert "tracking_uri=ftp://host/x" in message
    assert "sekret" not in message


@pytest.mark.parametrize("command", [("check",), ("run", "--name", "new")], ids=["check", "run"])
def test_auto_is_the_cluster_that_ray_would_take_and_wants_its_token(refused, monkeypatch, command):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.77:6379")
    message = refused(command[0], "spec.yaml", *command[1:], "--address", "auto", code=3)
    assert "192.0.2.77:6379 is not loopback, so token authentication is required" in message


@pytest.mark.parametrize(
    "command",
    [("check", "spec.yaml"), ("run", "spec.yaml"), ("submit", "spec.yaml", "--root", "/x"), ("stop", "taken")],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("head", "'head' has no port"),
        ("ftp://head:1", "no scheme that Ray knows"),
        ("http://[", "Invalid IPv6 URL"),
        ("http://me:sekret@head:1", "a password or token is never a part of an address"),
    ],
)
def test_an_address_that_is_none_is_refused_as_input_with_what_is_one(refused, command, address, why):
    message = refused(*command, "--address", address)
    assert why in message
    assert "Next: the same command with --address HOST:PORT" in message
    assert "sekret" not in message


@pytest.mark.parametrize("command", ["status", "best", "compare", "export", "ui"])
@pytest.mark.parametrize("name", ["takn", "../sweeps/taken", "", ".", "notes.txt", "z" * 300])
def test_a_sweep_that_is_not_there_is_refused_with_those_that_are(refused, command, name):
    message = refused(command, name)
    assert f"there is no sweep {name!r} in sweeps, which has taken" in message
    assert ("did you mean taken?" in message) == (name == "takn")


@pytest.fixture
def begun(world):
    """A sweep of the world's spec that can be resumed."""
    spec = load_spec(world / "spec.yaml")
    about = {
        "objective": "demo dev spearman",
        "rungs": list(rungs(spec)),
        "searched": list(spec.searched),
        "trials": 6,
        "spec": spec.model_dump(mode="json"),
    }
    record = Record.create(world / "sweeps", "begun", spec.to_yaml(), about)
    record.release()
    return record


@pytest.mark.parametrize("command", [("resume",), ("extend", "--trials", "3")])
def test_a_sweep_that_is_not_there_is_not_driven_on(refused, command):
    message = refused(command[0], "takn", *command[1:])
    assert "did you mean taken?" in message


def test_a_record_of_an_older_program_is_not_driven_on_and_of_a_newer_one_not_read(refused, begun):
    for written, said in ((2, "has record format 2, which can be read, not driven on"), (9, "reads up to")):
        begun.change(format=written)
        message = refused("resume", "begun")
        assert f"record format {written}" in message
        assert said in message


def test_a_space_that_changed_is_refused_key_by_key(refused, world, begun):
    (world / "other.yaml").write_text(SPEC.replace("reduction_factor: 2", "reduction_factor: 3"))
    message = refused("resume", "begun", "--spec", "other.yaml", "--set", "optim.batch_size=8")
    assert "2 problems" in message
    assert "scheduler.reduction_factor was 2.0 and is 3.0" in message
    assert "train.optim.batch_size was 16 and is 8" in message
    assert "stsweep resume begun" in message


def test_an_edited_record_is_refused_by_what_was_edited(refused, begun):
    path = begun.folder / "spec.yaml"
    path.write_text(path.read_text().replace("batch_size: 16", "batch_size: 8"))
    assert "train.optim.batch_size was 16 and is 8" in refused("resume", "begun")


def test_a_sweep_that_has_ended_is_not_driven_again(begun, monkeypatch, capsys):
    begun.change(trials=0)
    monkeypatch.setattr(sys, "argv", ["stsweep", "resume", "begun"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1, "no trial completed"
    assert "stsweep extend begun --trials" in capsys.readouterr().out
    assert not (begun.folder / "ray").exists()
    assert len(begun.sessions()) == 1, "no second driver began"


def test_what_is_wrong_at_an_extension_is_set_right_by_the_extension(refused, begun):
    message = refused("extend", "begun", "--trials", "2", "--set", "resources.cpus_per_worker=9999")
    assert "then: stsweep extend begun --trials 2" in message


def test_what_is_wrong_at_a_resume_is_set_right_by_the_resume(refused, begun):
    message = refused("resume", "begun", "--set", "objective.task=stsb", "--data-dir", "nowhere")
    assert "train.objective" in message or "objective.task was" in message
    message = refused("resume", "begun", "--set", "resources.cpus_per_worker=9999")
    assert "resources.cpus_per_worker: a worker asks 9999 CPUs" in message
    assert "Next: correct it, with --set too, then: stsweep resume begun" in message


def test_a_warm_start_that_cannot_be_is_found_by_check_with_all_else(refused):
    message = refused(
        "check", "spec.yaml", "--set", "sampler.warm_start=[gone]", "--set", "resources.cpus_per_worker=9999"
    )
    assert "there is no sweep 'gone'" in message
    assert "9999 CPUs" in message


def test_too_many_rungs_hide_no_other_mistake(refused, world):
    (world / "spec.yaml").write_text(
        SPEC.replace("reduction_factor: 2", "reduction_factor: 1.001") + "stop: {cost: 1}\n"
    )
    message = refused("check", "spec.yaml")
    assert "more than 50 rungs" in message
    assert "resources.cost_per_hour" in message


def test_the_next_command_names_a_file_as_a_shell_takes_it(refused, world):
    for path in (world / "MYSPECS" / "q.yaml", world / "my specs" / "q.yaml"):
        path.parent.mkdir()
        path.write_text(SPEC)
        message = refused("check", str(path.relative_to(world)), "--set", "foo=1")
        assert message.rstrip().endswith(f"stsweep check {shlex.quote(str(path.relative_to(world)))}")


def test_what_a_simulation_offers_next_runs(world, monkeypatch, capsys):
    (world / "search.yaml").write_text((search_spaces.folder() / "student_search.yaml").read_text())

    def run(*arguments: str) -> tuple[int | None, str]:
        monkeypatch.setattr(sys, "argv", ["stsweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err

    code, message = run("simulate", "search.yaml", "--set", "budget.sentences=12800")
    assert code == 2
    command = shlex.split(message.partition("Next: stsweep ")[2])
    assert run(*command, "--seeds", "1", "--set", "trials=4") in ((0, ""), (None, ""))


def test_the_number_of_trials_is_changed_by_extend_alone(refused, begun):
    assert "stsweep extend begun --trials" in refused("resume", "begun", "--set", "trials=50")
    assert "--trials" in refused("extend", "begun", "--trials", "0")
    assert "--trials" in refused("extend", "begun")


def test_a_folder_that_everyone_may_write_is_code_that_is_not_run(refused, begun):
    begun.folder.chmod(0o777)
    message = refused("resume", "begun")
    assert "may be written by everyone" in message
    assert "chmod go-w" in message


def test_a_folder_of_another_user_is_code_that_is_not_run(refused, begun):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    os.chown(begun.folder, 12345, -1)
    assert "belongs to user 12345" in refused("resume", "begun")


def test_a_warm_start_that_does_not_compare_is_refused_before_anything_starts(refused, begun):
    message = refused("run", "spec.yaml", "--name", "new", "--set", "sampler.warm_start=begun,gone",
                      "--set", "sampler.name=tpe", "--set", "budget.sentences=512")  # fmt: skip
    assert "2 problems" in message
    assert "trained 256 sentences, this sweep 512" in message
    assert "there is no sweep 'gone'" in message


@pytest.mark.parametrize("command", [("best",), ("export",), ("export", "--trial", "3")])
def test_a_sweep_without_a_completed_trial_has_nothing_to_give(refused, command):
    assert "Next: stsweep status taken\n" in refused(command[0], "taken", *command[1:])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{"format": 1, "na', "Unterminated string"),
        ("[1]", "no format, no created"),
        ('{"format": "x"}', 'format is "x", no created, no objective'),
        ('{"format": 3, "created": 1, "objective": "o", "rungs": 3, "searched": [], "trials": "six"}',
         'rungs is 3, trials is "six"'),
    ],
)  # fmt: skip
def test_a_damaged_record_is_named(refused, world, written, said):
    (world / "sweeps/taken/sweep.json").write_text(written)
    message = refused("status", "taken")
    assert "sweeps/taken/sweep.json: damaged: " in message
    assert said in message


def test_a_damaged_spec_of_a_record_is_named(refused, begun):
    spec = begun.about["spec"]
    spec["train"]["optim"]["batch_size"] = -1
    begun.change(spec=spec)
    message = refused("resume", "begun")
    assert "sweep.json: damaged: its spec cannot be read" in message
    assert "batch_size" in message


def test_a_file_in_place_of_a_sweeps_name_is_told_where_it_goes(refused, begun):
    assert "--spec" in refused("resume", "spec.yaml")


@pytest.mark.parametrize("command", [("resume", "begun"), ("extend", "begun", "--trials", "2")])
def test_a_sweep_whose_limit_is_used_up_starts_nothing(refused, begun, command):
    begun.add_trial(0, {}, {}, bracket=0)
    (begun.trial_folder(0) / "busy.json").write_text('{"seconds": 7200}')
    message = refused(*command, "--set", "stop.worker_hours=2")
    assert "stop.worker_hours = 2 is used up" in message
    assert f"Next: stsweep {' '.join(command)} --set stop.worker_hours=MORE" in message


def test_what_was_not_checked_is_not_written_into_the_record_of_an_ended_sweep(begun, monkeypatch, capsys):
    begun.change(trials=0)
    before = (begun.folder / "spec.yaml").read_text()
    monkeypatch.setattr(sys, "argv", ["stsweep", "resume", "begun", "--set", "resources.cpus_per_worker=9999"])
    with pytest.raises(SystemExit):
        main()
    assert (begun.folder / "spec.yaml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "following"),
    [
        (("chekc", "spec.yaml"), "stsweep --help"),
        (("check",), "stsweep check --help"),
        (("check", "spec.yaml", "--nmae", "x"), "stsweep check --help"),
        (("run", "spec.yaml", "more"), "stsweep run --help"),
        (("check", "spec.yaml", "--set"), "stsweep --help"),
        (("export", "taken", "--trial", "x"), "stsweep export --help"),
        (("train", "spec.yaml"), "stsweep train --help"),
        (("train", "spec.yaml", "--out", "encoder"), "stsweep train spec.yaml --out encoder-2"),
        (("train", "spec.yaml", "--out", "new", "--resume"), "stsweep train spec.yaml --out new"),
        (("train", "spec.yaml", "--out", "new", "--set", "data.corpus=no.txt"), "stsweep check spec.yaml"),
        (("train", "spec.yaml", "--out", "spec.yaml/x"), "stsweep train spec.yaml --out spec.yaml/x"),
        (("eval",), "stsweep ls"),
        (("eval", "lexical"), "stsweep eval lexical --corpus FILE"),
        (("eval", "lexical", "--corpus", "demo", "--tasks", "stsbb"), "stsweep eval MODEL --tasks"),
        (("eval", "lexical", "--corpus", "demo", "--tasks", ","), "with some of sts12"),
        (("eval", "lexical", "--corpus", "demo", "--pooling", "avg"), "stsweep eval A --against B"),
        (("eval", "lexical", "--corpus", "demo", "--against", "lexical"), "stsweep eval A --against B"),
        (("eval", "lexical", "--corpus", "demo", "--resamples", "9"), "stsweep eval A --against B"),
        (("bench",), "stsweep bench --help"),
        (("bench", "encoder", "--precisions", "fp33"), "stsweep bench MODEL"),
        (("bench", "encoder", "--threads", "0"), "stsweep bench MODEL"),
        (("data",), "stsweep data --help"),
        (("data", "check", "--corpus", "no.txt", "--tasks", "demo"), "stsweep data check"),
        (("data", "check", "--set", "trials=3"), "stsweep data check SPEC"),
        (("eval", "lexical", "--corpus", "demo", "--split", "devv"), "stsweep eval lexical"),
        (("eval", "--sweep", "takn"), "stsweep ls"),
        (("ui", "taken", "--port", "99999"), "--port 0"),
        (("ls", "--root", "spec.yaml"), "another --root"),
    ],
)
def test_a_command_that_cannot_be_run_says_what_to_type(refused, arguments, following):
    assert following in refused(*arguments).partition("\nNext: ")[2]


def test_an_encoder_that_is_not_there_is_refused_before_any_is_scored(refused):
    message = refused("eval", "lexical", "lexica", "--corpus", "demo", code=3)
    assert "did you mean lexical?" in message


def test_several_unknown_tasks_are_told_at_once_with_the_nearest(refused):
    message = refused("eval", "lexical", "--corpus", "demo", "--tasks", "stsbb,sts77,paper4")
    assert "3 problems" in message
    assert "did you mean stsb?" in message
    assert "did you mean paper5?" in message


def test_the_process_itself_ends_with_the_exit_code_and_prints_no_result(world, stsweep):
    for code, change in ((0, "trials=5"), (2, "trials=0"), (3, "encoder.name=no-one/nothing")):
        ran = stsweep("check", "spec.yaml", "--set", change, cwd=world)
        assert (ran.returncode, bool(ran.stdout), bool(ran.stderr)) == (code, code == 0, code != 0)
    assert stsweep(cwd=world).stdout.startswith("Usage: stsweep ")
