"""What can be said of a Ray cluster without loading Ray: whether it answers; whether this process is a job of one."""

from __future__ import annotations

import json
import os
import socket

from sweep.errors import Problem

_TIMEOUT_S = 3.0


def cluster_problem(address: str | None) -> Problem | None:
    """The mistake of a `HOST:PORT` or `ray://HOST:PORT` where nothing listens; Ray says so after a minute only."""
    if address is None or address in ("auto", "local"):
        return None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "it has no port"
        message = (
            f"no Ray cluster answers at {address}: {why}; give HOST:PORT of its head (ray status), "
            "or leave --address and RAY_ADDRESS out to run on this machine"
        )
        return Problem(message, key="--address")
    return None


def job_has_working_dir() -> bool:
    """Whether `ray job submit --working-dir` gave one; Ray refuses a second."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return "working_dir" in (job.get("runtime_env") or {})
