"""A real Ray head of our own: its own ports and folder, started in the foreground and ended by its pid alone."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.driving import Sweep
from tests.program.conftest import environment, stsweep, workshop

__all__ = ["environment", "stsweep", "workshop"]

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """Where a running head answers, the variables (its token among them) that make it answer, its temporary folder."""

    address: str
    dashboard: str
    environment: dict[str, str]
    folder: Path

    @property
    def credentials(self) -> dict[str, str]:
        return {name: self.environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}

    def submit(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """`ray job submit --working-dir . -- command`, until the job has ended."""
        submit = [str(BIN / "ray"), "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--", *command]
        return subprocess.run(submit, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=240)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def head(environment: dict[str, str]) -> Iterator[Head]:
    """`ray start --head` with two CPUs and the dashboard."""
    with running_head(environment) as running:
        yield running


@contextmanager
def running_head(environment: dict[str, str]) -> Iterator[Head]:
    """The same, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    port, dashboard, agent, client = free_port(), free_port(), free_port(), free_port()
    variables = environment | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"),
        *(f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
        # Its default is one port for every Ray of a machine; without its agent a head takes no job.
        f"--dashboard-agent-listen-port={agent}",
    ]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(url + "/api/version"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "head.log").read_text()
            time.sleep(0.5)
        yield Head(f"127.0.0.1:{port}", url, variables, folder)
    finally:
        process.terminate()  # `--block`: it ends what it started, and nothing else
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return True  # 401: it is there and wants the token
    except OSError:
        return False


@pytest.fixture(scope="session")
def undisturbed(workshop, environment) -> Iterator[Sweep]:
    """A sweep to its end, to compare with."""
    sweep = Sweep(workshop, environment, "undisturbed")
    assert sweep.run_to_the_end() == 0, sweep.log.read_text()
    yield sweep
    sweep.clean()
