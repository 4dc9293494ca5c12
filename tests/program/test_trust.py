"""--trust-remote-code: code of a model's folder runs in no command without it, and in the workers with it."""

from __future__ import annotations

import pytest

from tests.tiny import own_code_folder, pickled_folder

SPEC = """
name: own
train:
  encoder: {{name: {encoder}}}
  data: {{corpus: [{corpus}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 64}}
  precision: fp32
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
sampler: {{name: random}}
scheduler: {{name: none}}
objective: {{task: demo, split: dev}}
trials: 1
"""


@pytest.fixture(scope="module")
def own(workshop, tmp_path_factory):
    """A folder with a spec whose encoder brings code, and where that code leaves its mark."""
    folder = tmp_path_factory.mktemp("own")
    encoder = own_code_folder(folder / "own_encoder", folder / "mark")
    (folder / "own.yaml").write_text(SPEC.format(encoder=encoder, corpus=workshop / "corpus.txt"))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("check", "own.yaml"),
        ("run", "own.yaml", "--name", "untrusted"),
        ("train", "own.yaml", "--out", "out"),
        ("eval", "own_encoder"),
        ("bench", "own_encoder"),
    ],
    ids=lambda command: command[0],
)
def test_without_the_flag_nothing_is_run_and_the_flag_is_named(command, own, stsweep):
    ran = stsweep(*command, cwd=own, STSWEEP_ROOT=str(own / "sweeps"))
    assert ran.returncode == 2, ran.stderr
    assert "own_encoder" in ran.stderr
    assert "Python code that its own files bring" in ran.stderr
    assert "--trust-remote-code" in ran.stderr
    assert not (own / "mark").exists()
    assert not (own / "sweeps" / "untrusted").exists()


def test_no_key_of_a_file_and_no_variable_stands_for_the_flag(own, stsweep):
    for key in ("trust_remote_code", "encoder.trust_remote_code", "resources.trust_remote_code"):
        assert stsweep("check", "own.yaml", "--set", f"{key}=true", cwd=own).returncode == 2
    names = ("TRUST_REMOTE_CODE", "STSWEEP_TRUST_REMOTE_CODE", "HF_TRUST_REMOTE_CODE")
    assert stsweep("check", "own.yaml", cwd=own, **dict.fromkeys(names, "1")).returncode == 2
    assert not (own / "mark").exists()


def test_with_the_flag_the_workers_run_it_and_every_later_command_asks_again(own, stsweep):
    where = {"cwd": own, "STSWEEP_ROOT": str(own / "sweeps")}
    ran = stsweep("run", "own.yaml", "--trust-remote-code", **where)
    assert ran.returncode == 0, ran.stderr
    assert "modeling_own" in (own / "mark").read_text()
    (own / "mark").unlink()
    for command in (("export", "own"), ("extend", "own", "--trials", "1"), ("eval", "--sweep", "own")):
        refused = stsweep(*command, **where)
        assert refused.returncode == 2, refused.stderr
        assert "--trust-remote-code" in refused.stderr
    assert not (own / "mark").exists()
    exported = stsweep("export", "own", "--trust-remote-code", **where)
    assert exported.returncode == 0, exported.stderr
    assert "trust_remote_code=True" in exported.stdout, "sentence-transformers asks the same"
    scored = stsweep("eval", "--sweep", "own", "--trust-remote-code", "--tasks", "demo", "--resamples", "0", **where)
    assert scored.returncode == 0, scored.stderr
    again = stsweep("eval", "sweeps/own/export", "--trust-remote-code", "--resamples", "0", **where)
    assert again.returncode == 0, again.stderr


def test_weights_in_a_pickle_are_refused_by_every_command_that_loads_some(tmp_path, stsweep):
    folder = pickled_folder(tmp_path / "pickled", tmp_path / "mark")
    for command in (("eval", str(folder)), ("bench", str(folder), "--trust-remote-code")):
        ran = stsweep(*command)
        assert ran.returncode == 2, ran.stderr
        assert "model.safetensors" in ran.stderr
    assert not (tmp_path / "mark").exists()
