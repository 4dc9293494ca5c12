"""A sweep whose root is in an object store: moto's S3 server, which checks keys and rights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from model.source import find_fault
from sweep.meeting import DRIVER, StoreMeeting, visit
from sweep.object_store.folder import Fenced, SharedFolder
from sweep.object_store.store import open_store
from sweep.trial_record import best_trial
from tests.cluster.conftest import BIN, free_port
from tests.cluster.driving import Sweep, outcome

HOUSE = Path(__file__).parents[2]
BUCKET = "bucket"
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Storage:
    """An S3 endpoint, and two users: one who may do everything, one who may do nothing."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        admin = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        admin |= {"aws_access_key_id": "any", "aws_secret_access_key": "any"}  # nothing is checked yet
        boto3.client("s3", **admin).create_bucket(Bucket=BUCKET)
        users = boto3.client("iam", **admin)
        self.keys, self.keys_without_rights = (self._user(users, name) for name in ("may", "may-not"))
        users.put_user_policy(UserName="may", PolicyName="all", PolicyDocument=json.dumps(ALL))
        given = {name.lower(): value for name, value in self.keys.items()}
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **given)

    def _user(self, users: Any, name: str) -> dict[str, str]:
        users.create_user(UserName=name)
        key = users.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    @property
    def variables(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"} | self.keys

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", []) if not each["Key"].endswith("/")]

    def read(self, name: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def files(self, folder: str) -> dict[str, Any]:
        """What the newest manifest of a shared folder says; nothing without one."""
        manifests = sorted(name for name in self.names(folder) if "/manifest-" in name)
        return json.loads(self.read(manifests[-1]))["files"] if manifests else {}


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    port = free_port()
    checks_from = {"INITIAL_NO_AUTH_ACTION_COUNT": "6"}  # the bucket, two users, two keys, what one may do
    server = subprocess.Popen(
        [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | checks_from, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield Storage(f"http://127.0.0.1:{port}")
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def here(storage, monkeypatch) -> None:
    """The storage for this process itself."""
    for name, value in storage.variables.items():
        monkeypatch.setenv(name, value)


def machine(workshop: Path, environment: dict[str, str], storage: Storage, name: str) -> Sweep:
    """A machine is a cache of its own, with a Ray of its own."""
    cache = {"STSWEEP_CACHE": str(workshop / f"cache-{name}")}
    sweep = Sweep(workshop, environment | cache, "shared", root=f"s3://{BUCKET}/sweeps", **storage.variables)
    sweep.ray_folder = sweep.ray_folder.rename(f"{sweep.ray_folder}-{name}")
    sweep.environment["RAY_TMPDIR"] = str(sweep.ray_folder)
    sweep.log = workshop / f"shared-{name}.log"
    return sweep


def wait_until(sweep: Sweep, is_so: Any, timeout_s: float = 240) -> None:
    assert sweep.driver is not None
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert sweep.driver.poll() is None and time.monotonic() < deadline, sweep.log.read_text()[-3000:]
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_a_sweep_goes_on_on_machine_after_machine_as_if_nothing_had_been(
    workshop, environment, storage, undisturbed, stsweep, here, monkeypatch
):
    """The first is killed, and the second loses its lease; the third, as they, begins with an empty cache."""
    first, second, third = (machine(workshop, environment, storage, name) for name in ("a", "b", "c"))
    root = ("--root", first.root)
    trained = "sweeps/shared/trials/0000/trained"
    try:
        first.start("run", "shared.yaml")
        wait_until(first, lambda: {"rows.jsonl", "checkpoint/manifest.json"} <= storage.files(trained).keys())
        refused = stsweep("resume", "shared", *root, **second.environment)
        assert refused.returncode == 3, refused.stderr
        assert f"process {first.driver.pid} on {os.uname().nodename} since" in refused.stderr
        status = json.loads(stsweep("status", "shared", "--json", *root, **second.environment).stdout)
        assert status["state"] == "running"
        assert status["trial"][0]["rows"], "a reader elsewhere sees the rows"
        before = storage.files(trained)["rows.jsonl"]["text"]
        first.kill("driver")
        first.driver.wait()
        first.clean()

        driver = second.start("resume", "shared")
        wait_until(second, lambda: any("/trained/manifest-000002" in name for name in storage.names("sweeps")))
        workers = second.workers()
        for worker in workers:  # the sweep should not end before its driver looks at its lease again, within 10 s
            os.kill(worker, signal.SIGSTOP)
        for lease in storage.names("sweeps/shared/lease"):
            storage.client.delete_object(Bucket=BUCKET, Key=lease)
        wait_until(second, lambda: "sweeps/shared/pause/000002" in storage.names("sweeps/shared/pause"))
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        assert driver.wait(timeout=60) == 3
        said = second.log.read_text()
        assert "closed: the lease on the sweep was lost: it was removed" in said
        assert "stsweep resume shared --root s3://bucket/sweeps" in said
        assert "Traceback" not in said
        second.clean()

        assert third.start("resume", "shared").wait(timeout=300) == 0, third.log.read_text()[-3000:]
        monkeypatch.setenv("STSWEEP_CACHE", third.environment["STSWEEP_CACHE"])
        assert outcome(third.record) == outcome(undisturbed.record)
        after = storage.files(trained)["rows.jsonl"]["text"]
        assert after.startswith(before), "its rows are those that the first machine wrote, and no others"
        trials = [f"sweeps/shared/trials/{trial.number:04d}/trained" for trial in third.record.trials()]
        kept = {path for trial in trials for path in storage.files(trial)}
        assert not any(path.startswith("checkpoint") for path in kept), "an ended trial needs none"
        assert "encoder/model.safetensors" in kept
        assert not storage.names("sweeps/shared/lease")
        best = best_trial(third.record.trials())
        third.record.share.fetch_encoder(best.number)
        assert find_fault(str(best.folder / "encoder")) is None, "a whole encoder"
        for text in (first.log.read_text(), said, third.log.read_text()):
            assert storage.keys["AWS_SECRET_ACCESS_KEY"] not in text
    finally:
        for each in (first, second, third):
            each.clean()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_workers_of_a_cluster_get_the_keys_which_are_written_nowhere(
    workers, head, workshop, environment, storage, stsweep
):
    """The head's nodes have no keys of their own, and the server refuses who has none."""
    machine(workshop, environment, storage, "d").clean()
    name, cache = f"keys{workers}", workshop / f"cache-keys{workers}"
    variables = head.environment | storage.variables | {"STSWEEP_CACHE": str(cache)}
    changes = ("trials=1", "budget.sentences=800", "scheduler.grace=400", f"resources.workers={workers}")
    ran = stsweep(
        *("run", "shared.yaml", "--name", name, "--address", head.address, "--root", f"s3://{BUCKET}/keys"),
        *(part for change in changes for part in ("--set", change)),
        **variables,
    )
    assert ran.returncode == 0, ran.stderr
    assert {"rows.jsonl", "encoder/model.safetensors"} <= storage.files(f"keys/{name}/trials/0000/trained").keys()
    secret = storage.keys["AWS_SECRET_ACCESS_KEY"].encode()
    assert secret not in (ran.stdout + ran.stderr).encode()
    assert not [name for name in storage.names() if secret in storage.read(name)]
    folders = (cache, head.folder)
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.name == "mlflow.db" for file in files)
    assert any("runtime_env" in file.name for file in files), "where Ray logs the variables that it is given"
    assert [str(file) for file in files if secret in file.read_bytes()] == []
    assert not list((cache / "trials").glob("*/*/*")), "no worker leaves a folder behind"


ASK = """
import sys
from pathlib import Path
import ray
from sweep.driver import ray_session
from sweep.meeting import DRIVER, StoreMeeting
from sweep.nodes import ask_nodes, nodes_now
from sweep.shared_storage import judge, look
meeting = StoreMeeting("s3://bucket/asked")
word = meeting.write(DRIVER)
with ray_session(sys.argv[1], Path(sys.argv[2])):
    answers = ask_nodes(look, ray.put(meeting), word, [], nodes=nodes_now(), timeout_s=60)
(answer,) = answers
print(answer.fault, judge(answers, meeting.shared, {answer.node.id: meeting.read(answer.node.id)}))
meeting.end([DRIVER, answer.node.id])
"""


def test_a_node_without_keys_of_its_own_is_asked_with_the_drivers_which_are_written_nowhere(head, tmp_path, storage):
    ran = subprocess.run(
        [sys.executable, "-c", ASK, head.address, str(tmp_path / "code")],
        cwd=HOUSE, env=head.environment | storage.variables, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.stdout == "None []\n", ran.stderr
    assert storage.names("asked") == []
    secret = storage.keys["AWS_SECRET_ACCESS_KEY"].encode()
    files = [file for file in head.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert [str(file) for file in files if secret in file.read_bytes()] == []


def test_a_node_that_may_not_use_the_store_is_told_with_the_reason(storage, here):
    meeting = StoreMeeting(f"s3://{BUCKET}/asked")
    try:
        fault, _ = visit(replace(meeting, keys=storage.keys_without_rights), meeting.write(DRIVER), "node")
        assert "cannot be used (the shared storage may not be used with these credentials)" in fault
    finally:
        os.environ.update(storage.keys)
        meeting.end([DRIVER])


PUSH = """
import sys
from pathlib import Path
from sweep.object_store.folder import SharedFolder
from sweep.object_store.store import open_store
local, number, moment, times = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
folder = SharedFolder(local, open_store("s3://bucket/killed").folder("s", "trained"))
folder.claim(number)
folder.pull()
(local / "rows.jsonl").write_text("new\\n")
(local / "big").write_bytes(b"new" + bytes(range(256)) * 50_000)
count = 0
def stop(frame, event, argument):
    global count
    code = frame.f_code
    if event == "call" and code.co_filename.endswith("object_store/store.py") and code.co_name == moment:
        count += 1
        if count == times:
            print("stopped", flush=True)
            sys.stdin.read()
sys.setprofile(stop)
folder.push()
"""
OLD, NEW = bytes(range(256)) * 50_000, b"new" + bytes(range(256)) * 50_000
"""13 MB: two parts of an upload."""


def test_a_writer_killed_at_any_moment_of_a_push_leaves_what_was_there(tmp_path, storage, here):
    """SIGKILL before and within an upload, before its manifest, before and while what that replaces is removed."""
    store = open_store("s3://bucket/killed").folder("s", "trained")
    first = SharedFolder(tmp_path / "first", store)
    first.local.mkdir()
    first.claim(1)
    first.pull()
    (first.local / "rows.jsonl").write_text("old\n")
    (first.local / "big").write_bytes(OLD)
    first.push()
    moments = (
        ("upload", 1, OLD),
        ("blocks", 2, OLD),
        ("write", 1, OLD),
        ("objects", 1, NEW),
        ("_gone_already", 2, NEW),
    )
    for number, (moment, times, left) in enumerate(moments, start=2):
        local = tmp_path / f"writer{number}"
        local.mkdir()
        writer = subprocess.Popen(
            [sys.executable, "-c", PUSH, str(local), str(number), moment, str(times)],
            cwd=HOUSE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == "stopped\n"
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        reader = SharedFolder(tmp_path / f"reader{number}", store)
        reader.pull()
        assert (reader.local / "big").read_bytes() == left, moment
        assert (reader.local / "rows.jsonl").read_text() == ("old\n" if left is OLD else "new\n")
    with pytest.raises(Fenced):
        (first.local / "rows.jsonl").write_text("of who was cut off\n")
        first.push()
    last = SharedFolder(tmp_path / "last", store)
    last.claim(100)
    last.pull()
    (last.local / "rows.jsonl").write_text("last\n")
    last.push()
    assert len(storage.names("killed/s/trained")) == 3, "a manifest, an object, a claim: leftovers are swept away"


@pytest.mark.parametrize(
    ("root", "changes", "code", "said"),
    [
        ("s3://nobucket/a", {}, 3, "has no bucket 'nobucket' at http://127.0.0.1"),
        ("s3://bucket/a", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 3, "does not answer at http://127.0.0.1:1"),
        ("s3://bucket/a", {"AWS_SECRET_ACCESS_KEY": "tell-nobody"}, 3, "may not be used with these credentials"),
        ("s3://bucket/a", "keys_without_rights", 3, "s3:PutObject and s3:DeleteObject on bucket"),
        ("s3a://bucket/a", {}, 2, "s3a:// is not among s3, gs, file; did you mean s3?"),
        ("s3://key:tell-nobody@bucket/a", {}, 2, "AWS_SECRET_ACCESS_KEY"),
        ("file:///nowhere/a", {}, 3, "has no folder /nowhere/a"),
    ],
)
def test_a_root_that_is_none_is_told_with_what_to_do(root, changes, code, said, workshop, storage, stsweep):
    changes = getattr(storage, changes) if isinstance(changes, str) else changes
    for command in (("ls",), ("check", "quickstart")):
        ran = stsweep(*command, "--root", root, **storage.variables | changes)
        assert ran.returncode == code, ran.stderr
        assert said in ran.stderr
        assert "Next: " in ran.stderr
        assert "Traceback" not in ran.stderr
        assert "tell-nobody" not in ran.stderr + ran.stdout


def test_check_answers_for_a_root_in_a_store_and_leaves_nothing_there(workshop, environment, storage, stsweep):
    machine(workshop, environment, storage, "e").clean()
    ran = stsweep("check", "shared.yaml", "--root", f"s3://{BUCKET}/checked", **storage.variables)
    assert ran.returncode == 0, ran.stderr
    assert storage.names("checked") == []
