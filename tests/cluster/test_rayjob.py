"""The entry point of deploy/rayjob.yaml on a real head: stopped as Kubernetes stops it, begun again as KubeRay does."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sweep.record import Record
from tests.cluster.conftest import BIN, Head
from tests.cluster.driving import SPEC

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def job() -> dict[str, Any]:
    documents = YAML(typ="safe").load_all((HOUSE / "deploy" / "rayjob.yaml").read_text(encoding="utf-8"))
    return next(document["spec"] for document in documents if document["kind"] == "RayJob")


def ray(head: Head, command: list[str]) -> subprocess.CompletedProcess[str]:
    """One of Ray's commands, as in a container of the head's pod, which has its variables."""
    ran = subprocess.run(
        [str(BIN / command[0]), *command[1:]], env=head.environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def test_a_job_that_its_pod_s_end_stops_is_saved_and_the_next_try_finishes_it(head: Head, job, workshop):
    spec, root = workshop / "pods.yaml", workshop / "pods"
    text = SPEC.format(
        encoder=workshop / "encoder", corpus=workshop / "corpus.txt", trials=2, slots=1, checkpoint_seconds=1000
    )
    spec.write_text(text.replace("NAME", "pods"))
    here = {"quickstart": str(spec), "/sweeps": str(root), "resources.gpus_per_worker=1": "resources.gpus_per_worker=0"}
    words = [here.get(word, word) for word in shlex.split(job["entrypoint"])]
    name = words[words.index("--name") + 1] = "pods"
    container = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("RAY_")}
    submit = ["ray", "job", "submit", "--address", head.dashboard]
    submit += ["--runtime-env-json", json.dumps({"env_vars": variables})]  # in a pod they are the head's

    ray(head, [*submit, "--submission-id", job["jobId"], "--no-wait", "--", *words])
    trial, deadline = root / name / "trials" / "0000", time.monotonic() + 120
    while not (trial / "rows.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not (trial / "checkpoint").exists()
    begin = time.monotonic()
    stop = container["lifecycle"]["preStop"]["exec"]["command"]
    ray(head, [word.replace("http://127.0.0.1:8265", head.dashboard) for word in stop])
    assert time.monotonic() - begin < 45
    assert (trial / "checkpoint" / "manifest.json").exists(), "saved between SIGTERM and SIGKILL"

    ray(head, [*submit, "--submission-id", f"{job['jobId']}-again", "--", *words])  # a new cluster takes the same id
    record = Record.open(root, name)
    assert {trial.state for trial in record.trials()} <= {"completed", "stopped"}
    assert (len(record.trials()), len(record.sessions())) == (2, 2)
