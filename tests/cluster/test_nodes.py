"""Nodes of a cluster that do not share the driver's files: found out before a trial, by `run` and by `doctor`.

Two raylets on this machine, with two folders: `shared`, which both see, and `apart`, over which the second node has a
file system of its own, in a mount namespace.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.conftest import BIN, free_port

SPEC = """
name: {name}
train:
  encoder: {{name: {encoder}}}
  data: {{corpus: [{corpus}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 64}}
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
sampler: {{name: random}}
scheduler: {{name: none}}
objective: {{task: demo, split: dev}}
trials: 1
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")


@dataclass(frozen=True)
class Cluster:
    address: str
    environment: dict[str, str]
    shared: Path
    apart: Path
    """Seen by the head, not by the second node."""

    def spec(self, name: str, corpus: Path, encoder: Path) -> str:
        path = self.shared / f"{name}.yaml"
        path.write_text(SPEC.format(name=name, corpus=corpus, encoder=encoder))
        return str(path)


@pytest.fixture(scope="module")
def cluster(environment, workshop):
    folder = Path(tempfile.mkdtemp(prefix="rn", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    shared, apart = folder / "shared", folder / "apart"
    for made in (shared, apart / "twin", folder / "ray"):
        made.mkdir(parents=True)
    shutil.copy(workshop / "corpus.txt", apart)
    port = free_port()
    variables = environment | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    common = ["--block", "--num-cpus=1", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    own = f'mount -t tmpfs own {apart} && mkdir -p {apart}/twin && exec "$@"'
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        command = [str(BIN / "ray"), "start", *common, f"--dashboard-agent-listen-port={free_port()}", *arguments]
        with (folder / f"{len(started)}.log").open("w") as log:
            process = subprocess.Popen([*before, *command], env=variables, stdout=log, stderr=log)
        started.append(process)
        return process

    try:
        start("--head", f"--port={port}", f"--temp-dir={folder / 'ray'}", "--include-dashboard=false")
        _wait(lambda: len(_living(port, variables)) == 1, folder)
        start(f"--address=127.0.0.1:{port}", before=("unshare", "--mount", "sh", "-c", own, "sh"))
        _wait(lambda: len(_living(port, variables)) == 2, folder)
        yield Cluster(f"127.0.0.1:{port}", variables, shared, apart)
    finally:
        for process in reversed(started):
            process.terminate()  # `--block`: it ends what it started, and nothing else
        for process in started:
            process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _living(port: int, variables: dict[str, str]) -> list[str]:
    """Nodes that the head knows to be alive, asked without joining the cluster."""
    script = (
        "from ray._raylet import GcsClient\n"
        f"nodes = GcsClient(address='127.0.0.1:{port}').get_all_node_info(timeout=5)\n"
        "print(*(key.hex() for key, node in nodes.items() if node.state == 0))"
    )
    said = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True)
    return said.stdout.split()


def _wait(until, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not until():
        logs = "\n".join(path.read_text()[-1000:] for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.5)


def test_a_root_that_one_node_does_not_share_is_refused_before_any_trial(cluster, workshop, stsweep):
    spec = cluster.spec("unshared", workshop / "corpus.txt", workshop / "encoder")
    where = ("--root", str(cluster.apart), "--address", cluster.address)
    ran = stsweep("run", spec, *where, **cluster.environment)
    assert ran.returncode == 2, ran.stderr
    assert f"{cluster.apart / 'unshared'} is not there on node" in ran.stderr
    assert len(re.findall(r"node [0-9a-f]{8} \(", ran.stderr)) == 1, "one node, not both"
    assert "NFS" in ran.stderr
    assert "s3://" in ran.stderr
    assert sorted(path.name for path in cluster.apart.iterdir()) == ["corpus.txt", "twin"], "the name is free again"


def test_a_folder_of_the_same_path_on_every_node_does_not_pass_for_a_shared_one(cluster):
    asked = _ask(cluster, f"print(find_unshared(meeting_in(Path('{cluster.apart / 'twin'}')), [], nodes_now()))")
    assert "is another one of the same name: what the driver wrote there is not to be seen on node" in asked
    assert list((cluster.apart / "twin").iterdir()) == [], "nothing is left behind"


def test_a_root_at_a_file_uri_that_one_node_does_not_share_is_refused_too(cluster, workshop, stsweep):
    """Its rows would go to a folder of that node's own, and a trial be judged without them."""
    spec, root = cluster.spec("unshared", workshop / "corpus.txt", workshop / "encoder"), f"file://{cluster.apart}/twin"
    where = ("--root", root, "--address", cluster.address)
    ran = stsweep("run", spec, *where, **cluster.environment)
    assert ran.returncode == 2, ran.stderr
    assert f"{root} is another one of the same name" in ran.stderr
    assert len(re.findall(r"node [0-9a-f]{8} \(", ran.stderr)) == 1, "one node, not both"
    assert [path for path in (cluster.apart / "twin").rglob("*") if path.is_file()] == [], "the name is free again"
    asked = stsweep("doctor", *where, "--json", **cluster.environment)
    (line,) = [line for line in json.loads(asked.stdout)["lines"] if line["check"] == "shared root"]
    assert (line["level"], "is another one" in line["found"]) == ("bad", True)


def test_a_corpus_that_one_node_does_not_have_is_refused_with_its_path(cluster, workshop, stsweep):
    spec = cluster.spec("poor", cluster.apart / "corpus.txt", workshop / "encoder")
    ran = stsweep("run", spec, "--root", str(cluster.shared), "--address", cluster.address, **cluster.environment)
    assert ran.returncode == 2, ran.stderr
    assert f"{cluster.apart / 'corpus.txt'} is not there on node" in ran.stderr
    assert not (cluster.shared / "poor").exists()


def test_what_all_nodes_share_passes_and_nothing_is_left_behind(cluster, workshop):
    needed = [str(workshop / "corpus.txt"), str(workshop / "encoder")]
    before = set(cluster.shared.iterdir())
    asked = _ask(cluster, f"print(find_unshared(meeting_in(Path('{cluster.shared}')), {needed}, nodes_now()))")
    assert asked.strip() == "([], [])"
    assert set(cluster.shared.iterdir()) - before <= {cluster.shared / "code"}


def test_doctor_asks_every_node_and_names_the_one_apart(cluster, stsweep):
    ran = stsweep("doctor", "--address", cluster.address, "--root", str(cluster.apart), "--json", **cluster.environment)
    assert ran.returncode == 2, ran.stderr
    found = json.loads(ran.stdout)
    assert found["reachable"]
    nodes = {line["where"] for line in found["lines"]} - {"here"}
    assert len(nodes) == 2
    for node in nodes:
        said = {line["check"]: line["level"] for line in found["lines"] if line["where"] == node}
        assert said["versions"] == "ok", "the same environment"
        assert said["clock"] == "ok", "the same clock"
        assert {"cpus", "shared memory", "open files", "disk of cache"} <= said.keys()
    (shared,) = [line for line in found["lines"] if line["check"] == "shared root"]
    assert shared["level"] == "bad"
    assert "NFS" in shared["remedy"]
    assert cluster.environment["RAY_AUTH_TOKEN"] not in ran.stdout + ran.stderr


def test_a_node_that_hangs_is_a_finding_within_the_timeout(cluster):
    """Its raylet is stopped once workers run on both nodes; the driver's own node must answer."""
    asked = _ask(
        cluster,
        """
    import os, signal, time, psutil, ray
    nodes = nodes_now()
    warm = ask_nodes(clock, nodes=nodes, timeout_s=60)
    assert not any(answer.fault for answer in warm), warm
    (other,) = [node for node in nodes if node.id != ray.get_runtime_context().get_node_id()]
    raylets = [each for each in psutil.process_iter(["name"]) if each.info["name"].startswith("raylet")]
    (raylet,) = [each for each in raylets if any(other.id in part for part in each.cmdline())]
    raylet.suspend()
    try:
        begin = time.monotonic()
        answers = ask_nodes(clock, nodes=nodes, timeout_s=3)
        seconds = time.monotonic() - begin
    finally:
        raylet.resume()
    print(seconds < 10, [(answer.node == other, answer.fault) for answer in answers if answer.fault])
""",
    )
    assert asked.strip() == "True [(True, 'did not answer within 3 s')]"


def _ask(cluster: Cluster, statement: str) -> str:
    """What a driver on the cluster prints."""
    script = (
        "from pathlib import Path\nfrom sweep.doctor.facts import clock\n"
        "from sweep.driver import ray_session\nfrom sweep.meeting import meeting_in\n"
        "from sweep.nodes import ask_nodes, nodes_now\nfrom sweep.shared_storage import find_unshared\n"
        f"with ray_session({cluster.address!r}, Path({str(cluster.shared / 'code')!r})):\n    {statement}"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script], env=cluster.environment, capture_output=True, text=True, timeout=120
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout
