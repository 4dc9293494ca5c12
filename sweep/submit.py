"""Submit a sweep to a Ray cluster as a job, which runs its driver on the head: it goes on when you log out.

What must be on the cluster: every node has Python and Ray of the versions here, and the packages of constraints.txt
(torch, transformers, optuna, mlflow, …), as `cluster.yaml` installs them. stsweep itself need not be installed there:
the job's working directory carries the code, and comes before what is installed. The root, the corpus, the encoders'
folders and the data lie where every node sees them, under the paths that the spec names, or come from the Hub.

The job's command begins the sweep or goes on with it (`run --or-resume`), so that the same submission may be tried
again at any time. Ray kills a job 3 s after it was told to stop; RAY_JOB_STOP_WAIT_TIME_S in the job's runtime
environment, which is that of its supervisor too (`JobSupervisor.run` of ray/dashboard/modules/job), gives it longer.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sweep.errors import Exit, Problem, Refused, Unreachable
from sweep.footprint import said_bytes
from sweep.jobs import GRACE_S, MARK, STOP_WAIT_S, Jobs
from sweep.object_store.uri import check_uri, is_uri
from sweep.root import check_name
from sweep.say import say
from sweep.signals import GRACE_VARIABLE, JOB_GRACE_VARIABLE
from sweep.spec.elsewhere import local_paths
from sweep.spec.sweep_spec import load_spec
from sweep.upload import SPEC_FILE, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.spec.sweep_spec import SweepSpec


def submit(
    path: Path,
    changes: Sequence[str],
    *,
    address: str,
    root: str,
    name: str | None,
    follow: bool,
    trust_remote_code: bool = False,
) -> Exit:
    """Submit a sweep, and follow its log to the end unless told otherwise.

    Args:
        path: the sweep's file.
        changes: `KEY=VALUE` texts (`--set`).
        address: of the cluster's dashboard.
        root: where the cluster keeps sweeps: an absolute path that all its nodes see, or a URI.
        name: of the sweep, and of the job; None: the spec's.
        follow: print the log until the job has ended. Else the job is only begun.
        trust_remote_code: as `stsweep run`.

    Returns:
        The sweep's exit code; 0 when it is not followed.

    Raises:
        Refused: the spec, the root or the name is at fault, or the upload is too large; nothing was sent.
        Unreachable: the cluster cannot be reached, or runs a job of that name.
    """
    spec = _checked(path, changes, root, name)
    name = spec.name
    with packed(spec.to_yaml()) as upload:
        jobs = Jobs(address)
        earlier = _earlier_log(jobs, name)
        size = f"{said_bytes(upload.bytes)} ({upload.files} files)"
        say(f"sweep {name}: uploading {size} to {jobs.address}: the code and the spec, no data", sys.stderr)
        command = ["run", SPEC_FILE, "--root", root, "--name", name, "--or-resume"]
        command += ["--trust-remote-code"] if trust_remote_code else []
        environment = {
            "working_dir": str(upload.folder),
            "env_vars": {JOB_GRACE_VARIABLE: str(STOP_WAIT_S), GRACE_VARIABLE: str(GRACE_S)},
        }
        with jobs.asked():
            # `submit_job` would do it when the earlier job, its log and its exit code are gone.
            jobs.client._upload_working_dir_if_needed(environment)
            if earlier is not None:
                jobs.client.delete_job(name)
            jobs.client.submit_job(
                entrypoint=f"exec python -m sweep {shlex.join(command)}",
                submission_id=name,
                metadata={MARK: root},
                runtime_env=environment,
            )
    meanwhile = "; Ctrl-C stops following it, not the sweep" if follow else ""
    say(f"submitted as job {name}{meanwhile}\n{jobs.commands(name)}", sys.stderr)
    return jobs.follow(name, earlier or 0) if follow else Exit.DONE


def _checked(path: Path, changes: Sequence[str], root: str, name: str | None) -> SweepSpec:
    """The spec under the name that it will have, or all that is wrong with it."""
    problems: list[Problem] = []
    following = "correct it, then the same command again"
    spec = None
    try:
        spec = load_spec(path, changes)
    except Refused as refused:
        problems += refused.problems
        following = refused.next
    if spec is not None or path.is_file():
        problems += local_paths(path, changes)
    if is_uri(root):
        try:
            check_uri(root)
        except Refused as refused:
            problems += refused.problems
    elif not PurePosixPath(root).is_absolute():
        problems.append(
            Problem(f"{root!r} is neither an absolute path nor a URI; give one that every node sees", key="--root")
        )
    wanted = name or (spec.name if spec else "unnamed")
    if name is not None:
        try:
            check_name(Path("/nowhere"), name)
        except Refused as refused:
            problems += refused.problems
    if problems or spec is None:
        raise Refused(problems, next=following)
    return spec.model_copy(update={"name": wanted})


def _earlier_log(jobs: Jobs, name: str) -> int | None:
    """Characters of the log of an earlier job of that name, which makes place: Ray appends to it. None: there is none.

    Raises:
        Unreachable: a job of that name runs.
        Refused: one that is no sweep of ours has it.
    """
    job = jobs.find(name)
    if job is None:
        return None
    if MARK not in (job.metadata or {}):
        raise Refused(
            [
                Problem(
                    f"{jobs.address} has a job {name!r} that is no submitted sweep; nothing was changed", key="--name"
                )
            ],
            next=f"the same command with another --name, or: ray job delete {shlex.quote(name)}",
        )
    if not job.status.is_terminal():
        at = f"{shlex.quote(name)} --address {jobs.address}"
        raise Unreachable(
            [Problem(f"job {name!r} is {job.status.value} on {jobs.address}; nothing was changed", key="--name")],
            next=f"stsweep logs {at} --follow, or: stsweep stop {at}",
        )
    return len(jobs.log(name))
