"""Ray's two-command form: a head that runs, and `ray job submit … -- python -m sweep run …`."""

from __future__ import annotations

import json
from pathlib import Path

HOUSE = Path(__file__).parents[2]

SPEC = """
name: submitted
train:
  encoder: {{name: {encoder}}}
  data: {{corpus: [{corpus}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 128}}
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
sampler: {{name: random}}
scheduler: {{name: asha, grace: 64, reduction_factor: 2}}
objective: {{task: demo, split: dev}}
trials: 3
"""


def _write_spec(workshop: Path) -> Path:
    path = workshop / "submitted.yaml"
    path.write_text(SPEC.format(encoder=workshop / "encoder", corpus=workshop / "corpus.txt"))
    return path


def test_a_submitted_job_runs_the_sweep_on_the_head(head, workshop, stsweep):
    spec, root = _write_spec(workshop), workshop / "sweeps"
    ran = head.submit("python", "-m", "sweep", "run", str(spec), "--root", str(root), cwd=HOUSE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "best trial" in ran.stdout
    status = json.loads(stsweep("status", "submitted", "--json").stdout)
    assert status["state"] == "finished"
    assert len(status["trial"]) == 3
    assert not (root / "submitted" / "code").exists(), "the job's own working directory was used"


def test_a_driver_elsewhere_joins_the_head_by_its_address(head, workshop, stsweep):
    spec = _write_spec(workshop)
    changes = (
        "--set",
        "resources.cpus_per_worker=2",
        "--set",
        "trials=4",
    )  # one trial at once, for the head has two CPUs
    ran = stsweep("run", str(spec), "--name", "joined", "--address", head.address, *changes, **head.environment)
    assert ran.returncode == 0, ran.stderr
    trials = [workshop / "sweeps" / "joined" / "trials" / f"{number:04d}" for number in range(4)]
    for before, after in zip(trials, trials[2:], strict=False):
        ended = (before / "end.json").stat().st_mtime
        assert (after / "trial.json").stat().st_mtime >= ended, "one waits, and no more are proposed without results"
    assert (workshop / "sweeps" / "joined" / "code" / "model" / "config.py").exists(), "the code that ran is kept"


def test_what_the_cluster_can_never_give_is_refused_by_check_and_by_run(head, workshop, stsweep):
    spec = str(_write_spec(workshop))
    asked = ("--address", head.address, "--set", "resources.workers=3")
    for command in (("check", spec), ("run", spec, "--name", "impossible")):
        ran = stsweep(*command, *asked, **head.environment)
        assert ran.returncode == 2, ran.stderr
        assert "resources.workers: a trial asks 3 workers at once and there is room for 2" in ran.stderr
        assert "--set resources.workers=2" in ran.stderr
    assert not (workshop / "sweeps" / "impossible").exists(), "the name is free again"


def test_no_cluster_at_the_address_is_exit_code_3(workshop, stsweep):
    ran = stsweep("run", str(_write_spec(workshop)), "--name", "nowhere", "--address", "127.0.0.1:1")
    assert ran.returncode == 3, ran.stderr
    assert "127.0.0.1:1" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (workshop / "sweeps" / "nowhere").exists(), "the name is free again"


def test_a_job_is_refused_a_root_that_would_be_lost_with_it(head, workshop):
    ran = head.submit("python", "-m", "sweep", "run", str(_write_spec(workshop)), "--root", "sweeps", cwd=HOUSE)
    assert ran.returncode != 0
    assert "--root" in ran.stdout + ran.stderr
    assert "temporary working directory" in ran.stdout + ran.stderr
