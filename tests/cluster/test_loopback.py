"""A sweep on this machine listens on loopback alone: Ray's dozen ports, the trials, MLflow's pages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.cluster.driving import Sweep

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def listening(pids: list[int]) -> dict[str, str]:
    """What accepts connections: address:port → process."""
    found = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            for each in process.net_connections(kind="tcp"):
                if each.status == psutil.CONN_LISTEN:
                    found[f"{each.laddr.ip}:{each.laddr.port}"] = process.name()
        except psutil.NoSuchProcess:
            continue
    return found


def elsewhere(found: dict[str, str]) -> dict[str, str]:
    return {place: name for place, name in found.items() if place.rpartition(":")[0] not in LOOPBACK}


@pytest.fixture(scope="module")
def sweep(workshop, environment):
    sweep = Sweep(workshop, environment, "loopback", trials=2)
    yield sweep
    sweep.clean()


def test_every_port_of_a_running_sweep_is_on_loopback(sweep):
    driver = sweep.start()
    sweep.wait_for("trials/0000/rows.jsonl")
    found = listening([driver.pid, *sweep.processes()])
    assert {"gcs_server", "raylet"} <= set(found.values()), found
    assert not elsewhere(found)
    assert driver.wait(timeout=240) == 0, sweep.log.read_text()


def test_the_pages_of_mlflow_are_on_loopback(sweep):
    ui = subprocess.Popen(
        [sys.executable, "-m", "sweep", "ui", sweep.name, "--port", "0", "--root", str(sweep.root)],
        cwd=sweep.workshop, env=sweep.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "/#/compare-runs" in ui.stdout.readline()
        found = listening([ui.pid, *(child.pid for child in psutil.Process(ui.pid).children(recursive=True))])
        assert found
        assert not elsewhere(found)
    finally:
        os.kill(ui.pid, signal.SIGINT)
        ui.wait(timeout=30)
