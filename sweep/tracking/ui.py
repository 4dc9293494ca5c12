"""MLflow's pages on a sweep: the link to the comparison of all its trials, and a server that shows it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sweep.errors import Exit, Problem, Refused, Unreachable
from sweep.record import Record
from sweep.say import say
from sweep.tracking.mirror import Mirror, mirrored_uri
from sweep.tracking.sent import read_sent

_UP_WITHIN_S = 60.0
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # three more processes, for features that a sweep has no use for
}


def comparison_link(record: Record, base_url: str) -> str:
    """The address of MLflow's page that compares all trials of a sweep, parallel coordinates first.

    A trial without a score is left out (it waits for its first rung, or was interrupted before it): the page shows
    only metrics that all of its runs have, so one such run would take the score from all.

    Raises:
        Refused: MLflow has no scored trial of this sweep.
    """
    sent = read_sent(record)
    runs = [trial.run for _, trial in sorted(sent.trials.items()) if trial.scored]
    if not runs:
        raise Refused(
            [Problem(f"MLflow has no scored trial of sweep {record.name!r} yet")],
            next=f"stsweep status {record.argument}",
        )
    return f"{base_url}/#/compare-runs?runs={_listed(runs)}&experiments={_listed([sent.experiment])}"


def _listed(items: list[Any]) -> str:
    return quote(json.dumps(items, separators=(",", ":")), safe="")


def serve_until_interrupted(record: Record, host: str, port: int) -> None:
    """Send MLflow what it lacks, print the link, and serve the root's database until Ctrl-C.

    A sweep that went to a server is shown by that server: then nothing is started and the link is all.

    Raises:
        Refused: the port is taken, or there is nothing to compare.
        Unreachable: the server did not come up.
    """
    uri = mirrored_uri(record)
    is_elsewhere = uri.startswith(("http://", "https://"))
    port = port if is_elsewhere else unused_port(host, port)
    _send_the_rest(record, uri)
    if is_elsewhere:
        say(comparison_link(record, uri.rstrip("/")))
        return
    link = comparison_link(record, _base_url(host, port))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.TERMINATED))  # so that the server is ended then too
    with served(uri, host, port, root=record.folder.parent) as server:
        print(link, flush=True)
        say(f"MLflow serves {uri}; Ctrl-C stops it.", sys.stderr)
        server.wait()


def _send_the_rest(record: Record, uri: str) -> None:
    if record.is_driven():
        return  # its driver sends
    mirror = Mirror(record, uri, interval_s=0.2)
    mirror.start()
    for complaint in mirror.finish(timeout_s=120):
        say(complaint, sys.stderr)


def unused_port(host: str, port: int = 0) -> int:
    """`port` when it can be listened on, any free one for 0.

    Raises:
        Refused: another program has it, or `host` is no address of this machine.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise Refused(
                [Problem(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}", key="--port")],
                next="the same command with --port 0, which takes a free port",
            ) from None
        found: int = probe.getsockname()[1]
        return found


def _base_url(host: str, port: int) -> str:
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"


@contextmanager
def served(uri: str, host: str, port: int, *, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An MLflow server that answers; it, and nothing else, is ended with the block.

    Args:
        uri: the database.
        host: address to listen on.
        port: a free one.
        root: where MLflow keeps what it writes, artifacts and its log (`mlflow-server.log`).

    Raises:
        Unreachable: it ended, or did not answer within a minute.
    """
    log = root / "mlflow-server.log"
    options = {
        "--artifacts-destination": (root.resolve() / "mlartifacts").as_uri(),
        "--host": host,
        "--port": str(port),
        "--workers": "1",
    }
    command = [sys.executable, "-m", "mlflow", "server", *(part for option in options.items() for part in option)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=root,
            env=os.environ | _ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": uri},  # an argument is everybody's to read
            start_new_session=True,  # it has a child of its own: the group is ended as one
        )
    try:
        _wait_until_up(server, _base_url(host, port), log)
        yield server
    finally:
        _end(server)


def _wait_until_up(server: subprocess.Popen[bytes], base_url: str, log: Path) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(f"{base_url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise Unreachable([Problem(f"MLflow's server did not come up at {base_url}")], next=f"cat {log}")


def _end(server: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
            server.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
