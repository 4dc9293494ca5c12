"""`stsweep submit` against a real head with token authentication: to the end, killed, stopped, unauthorised."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sweep.cluster import cluster_problem, jobs_problem
from sweep.record import Record
from tests.cluster.driving import SPEC

FIRST_ROW_S = 40.0
UPLOAD_MB = 5.0

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(workshop: Path) -> Path:
    return workshop / "shared"


@pytest.fixture
def on_head(head, stsweep) -> Run:
    """A command of `stsweep` with `--address` of the head's dashboard and the head's token."""
    return lambda *command: stsweep(*command, "--address", head.dashboard, **head.credentials)


def write_spec(workshop: Path, name: str, trials: int = 2, sentences: int = 3200) -> str:
    """A spec that stops no trial early."""
    text = SPEC.format(
        encoder=workshop / "encoder", corpus=workshop / "corpus.txt", trials=trials, slots=1, checkpoint_seconds=0.5
    )
    text = text.replace("NAME", name).replace("sentences: 3200", f"sentences: {sentences}")
    text = text.replace("{name: asha, grace: 800,", "{name: none, grace: 1600,")
    (workshop / f"{name}.yaml").write_text(text)
    return f"{name}.yaml"


def wait_for(what: Callable[[], object], timeout_s: float = 150) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def has(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(path.is_dir() or path.stat().st_size for path in folder.glob(pattern))


@contextmanager
def begun(workshop: Path, environment: dict[str, str], *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command of `stsweep` that runs in the background."""
    started = subprocess.Popen(
        [sys.executable, "-m", "sweep", *command],
        cwd=workshop, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def tunnel(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that leads to another, and how to cut it."""
    ends: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def pump(here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while some := here.recv(65536):
                there.sendall(some)
            there.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, far = server.accept()[0], socket.create_connection(("127.0.0.1", port))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def cut() -> None:
        for each in (server, *ends):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1], cut
    finally:
        cut()


def test_a_submitted_sweep_runs_to_its_end_and_the_token_is_nowhere(head, workshop, on_head, stsweep, root):
    begin = time.monotonic()
    seen: list[float] = []
    watch = threading.Thread(
        target=lambda: (wait_for(has(root, "through/trials/*/rows.jsonl")), seen.append(time.monotonic() - begin))
    )
    watch.start()
    ran = on_head("submit", write_spec(workshop, "through", trials=1), "--root", str(root), "--name", "through")
    watch.join()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "best trial 0000" in ran.stdout
    size = float(ran.stderr.partition("uploading ")[2].partition(" MB")[0])
    assert 0 < size <= UPLOAD_MB
    if os.getloadavg()[0] < 2 * (os.cpu_count() or 1):  # else it is measured what else the machine does
        assert seen[0] <= FIRST_ROW_S
    assert Record.open(root, "through").trials()[0].state == "completed"

    again = on_head("submit", "through.yaml", "--root", str(root))
    assert again.returncode == 0, again.stderr
    assert "has ended: all its 1 trials have" in again.stdout
    assert "best trial" not in again.stdout, "what the first try had printed is not printed again"
    status, logs = on_head("status", "through"), on_head("logs", "through")
    assert "SUCCEEDED" in status.stdout
    assert str(root) in status.stdout
    assert json.loads(on_head("status", "through", "--json").stdout)["exit_code"] == 0
    assert "best trial 0000" in logs.stdout
    other = on_head("submit", "through.yaml", "--root", str(root), "--set", "optim.batch_size=32")
    assert other.returncode == 2, "the name is another sweep's"
    assert "optim.batch_size was 16 and is 32" in other.stdout
    exported = stsweep("export", "through", "--root", str(root))
    assert exported.returncode == 0, exported.stderr

    token = head.environment["RAY_AUTH_TOKEN"]
    printed = [each.stdout + each.stderr for each in (ran, again, status, logs, exported)]
    folders = (workshop, head.folder)
    written = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"mlflow.db", "sweep.json", "model.safetensors", "runtime_env_agent.log"} <= {path.name for path in written}
    assert not [text for text in printed if token in text]
    assert not [path for path in written if token.encode() in path.read_bytes()]


def test_killed_cut_off_and_stopped_it_goes_on_when_submitted_again(head, workshop, on_head, environment, root):
    spec, folder = write_spec(workshop, "kept", sentences=12_800), root / "kept"  # some 13 s a trial: time to stop it
    (folder / "trials").mkdir(parents=True)  # as of a try that died before anything was recorded
    (folder / "lock").touch()
    submit = ("submit", spec, "--root", str(root))
    known = environment | head.credentials

    with begun(workshop, known, *submit, "--address", head.dashboard) as following:
        wait_for(has(folder, "trials/0000/end.json"))
        arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
        assert any(b"--or-resume" in each for each in arguments)
        assert not any(head.environment["RAY_AUTH_TOKEN"].encode() in each for each in arguments)
        following.send_signal(signal.SIGINT)
        said = following.communicate(timeout=30)
        assert following.returncode == 130
        assert f"stsweep stop kept --address {head.dashboard}" in said[1]
        assert "Traceback" not in said[1]
    second = on_head(*submit)
    assert second.returncode == 3, "it runs still"
    assert "RUNNING" in second.stderr

    first = (folder / "trials" / "0000" / "end.json").stat().st_mtime_ns
    os.kill(json.loads((folder / "driver.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: "FAILED" in on_head("status", "kept").stdout)
    killed = on_head("logs", "kept", "--follow")
    assert killed.returncode == 130
    assert "was killed" in killed.stderr

    tried_again = time.time()
    again = on_head(*submit, "--detach")
    assert again.returncode == 0, again.stderr
    with tunnel(int(head.dashboard.rpartition(":")[2])) as (port, cut):
        far = f"http://127.0.0.1:{port}"
        with begun(workshop, known, "logs", "kept", "--address", far, "--follow") as following:
            wait_for(lambda: len((folder / "sessions.jsonl").read_text().splitlines()) > 1)
            assert following.poll() is None
            cut()
            said = following.communicate(timeout=60)
            assert following.returncode == 3
            assert f"Next: stsweep logs kept --address {far} --follow" in said[1]
            assert "Traceback" not in said[1]

    saved = "trials/*/checkpoint/manifest.json"
    wait_for(lambda: any(path.stat().st_mtime > tried_again for path in folder.glob(saved)))
    stopped = on_head("stop", "kept")
    assert stopped.returncode == 0, stopped.stderr
    assert "STOPPED" in stopped.stdout
    record = Record.open(root, "kept")
    assert record.about["closed"] == "terminated"
    assert "ended" in record.sessions()[-1], "the driver closed the record itself, and was not killed"
    assert [trial.state for trial in record.trials()][1:] == ["interrupted"]
    assert (record.trial_folder(1) / "checkpoint" / "manifest.json").stat().st_mtime > tried_again
    assert on_head("logs", "kept", "--follow").returncode == 143, "`ray job submit` would exit with 0"
    nothing = on_head("stop", "kept")
    assert nothing.returncode == 2
    assert "is not running" in nothing.stderr

    last = on_head(*submit)
    assert last.returncode == 0, last.stdout + last.stderr
    assert (folder / "trials" / "0000" / "end.json").stat().st_mtime_ns == first, "what had ended stays"
    trials = Record.open(root, "kept").trials()
    assert len(trials) == 2
    for trial in trials:
        assert trial.state == "completed"
        assert [row.rung for row in trial.rows] == [1600, 3200, 6400, 12_800], "no row is lost, and none twice"


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@pytest.fixture
def authorised(head, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in head.credentials.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("token", "code"), [(None, "401"), ("of-another-cluster", "403")])
def test_without_the_heads_token_nothing_is_asked_of_it(head, workshop, stsweep, root, token, code, monkeypatch):
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": ""}
    spec = write_spec(workshop, "denied")
    for command in (
        ("submit", spec, "--root", str(root), "--address", head.dashboard),
        ("run", spec, "--root", str(root), "--address", head.address),
        ("check", spec, "--address", head.address),
        ("run", spec, "--root", str(root), "--address", "auto"),
        ("doctor", "--json", "--root", str(root), "--address", "auto"),
        ("status", "through", "--address", head.dashboard),
    ):
        begin = time.monotonic()
        ran = stsweep(*command, HOME=str(workshop), **variables, RAY_ADDRESS=head.address)
        assert ran.returncode == 3, ran.stderr
        said = ran.stdout if command[0] == "doctor" else ran.stderr
        assert code in said
        assert "ray get-auth-token" in said
        assert "Traceback" not in ran.stderr
        assert time.monotonic() - begin < 20, "Ray alone tries for 20 s, after its start"
    assert not (root / "denied").exists()


def test_what_answers_at_a_wrong_port_or_scheme_is_named(head, authorised):
    store, dashboard = head.address, head.dashboard
    begin = time.monotonic()
    for problem, said in (
        (jobs_problem(f"http://{store}"), "take no jobs; give its head's dashboard"),
        (jobs_problem(f"ray://{store}"), "take no jobs"),
        (jobs_problem(store), "take no jobs"),
        (jobs_problem(dashboard.replace("http:", "https:")), f"give {dashboard}"),
        (jobs_problem(dashboard.replace("http:", "ray:")), f"give {dashboard}"),
        (cluster_problem(dashboard), f"stsweep submit SPEC --address {dashboard}"),
        (cluster_problem(dashboard.removeprefix("http://")), f"stsweep submit SPEC --address {dashboard}"),
        (cluster_problem(dashboard.replace("http:", "ray:")), f"stsweep submit SPEC --address {dashboard}"),
        (cluster_problem(f"ray://{store}"), "Ray Client cannot drive a sweep; give HOST:PORT"),
    ):
        assert problem is not None
        assert said in str(problem)
    assert cluster_problem(store) is None
    assert jobs_problem(dashboard) is None
    assert time.monotonic() - begin < 20


def test_another_python_on_the_cluster_is_refused_before_ray_starts(head, authorised):
    import grpc
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub

    key, token = {"namespace": b"cluster", "key": b"CLUSTER_METADATA"}, head.environment["RAY_AUTH_TOKEN"]
    with grpc.insecure_channel(head.address) as channel:
        store, bearer = InternalKVGcsServiceStub(channel), {"metadata": [("authorization", f"Bearer {token}")]}
        kept = store.InternalKVGet(messages.InternalKVGetRequest(**key), **bearer).value
        other = json.dumps(json.loads(kept) | {"python_version": "3.9.1"}).encode()
        put = messages.InternalKVPutRequest
        store.InternalKVPut(put(**key, value=other, overwrite=True), **bearer)
        try:
            problem = cluster_problem(head.address)
        finally:
            store.InternalKVPut(put(**key, value=kept, overwrite=True), **bearer)
    assert problem is not None
    assert "3.9.1" in str(problem)
    assert sys.version.split()[0] in str(problem)
    assert cluster_problem(head.address) is None


def test_the_machines_own_outer_address_needs_the_token_too(head, monkeypatch):
    """Ray's control store listens on every address of its machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        with suppress(OSError):
            found.connect(("192.0.2.1", 9))  # sends nothing
        outer = found.getsockname()[0]
    if outer in ("0.0.0.0", "127.0.0.1"):
        pytest.skip("this machine has no address but loopback")
    address = f"{outer}:{head.address.rpartition(':')[2]}"
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    problem = cluster_problem(address)
    assert problem is not None
    assert "token authentication is required" in str(problem)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another-cluster")
    problem = cluster_problem(address)
    assert problem is not None
    assert "403" in str(problem)
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.environment["RAY_AUTH_TOKEN"])
    assert cluster_problem(address) is None
