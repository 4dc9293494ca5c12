"""Sweeps as jobs of a Ray cluster, by its `JobSubmissionClient`: asked after, followed, stopped.

A job's submission id is the name of its sweep. Ray keeps of a job that was stopped no exit code, and `ray job submit`
exits with 0 for one; here it is 143, as of a driver that got SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sweep.address import parse_address
from sweep.cluster import clear_text_note, jobs_problem
from sweep.errors import Exit, Problem, Refused, Unreachable, nearest
from sweep.say import say

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

STOP_WAIT_S = 60
"""From the signal of `stop` to Ray's kill; its own default of 3 s is too short for a trial to save a checkpoint."""
GRACE_S = 45
"""Of that, what running trials have; the rest is for the record and Ray's end."""
MARK = "stsweep_root"
"""Metadata of our jobs: the root of the sweep."""

_QUIET_S = 15.0
"""Without a line of log for so long, the head is asked whether it is there; a lost network says nothing by itself."""
_POLL_S = 0.5
_LAST_LINES = 10


class Jobs:
    """The jobs of one cluster.

    Raises:
        Refused: it is no address.
        Unreachable: nothing answers at the address, or no dashboard, or it wants another token or another Ray.
    """

    def __init__(self, address: str) -> None:
        if problem := jobs_problem(address):
            raise Unreachable([problem], next="correct it, then the same command again")
        if note := clear_text_note(address):
            say(f"note: {note}", sys.stderr)
        self.address = parse_address(address).url
        # Ray takes this variable, and RAY_ADDRESS, before what is passed (`get_address_for_submission_client`).
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        from ray.job_submission import JobSubmissionClient

        for handler in logging.getLogger("ray").handlers:
            handler.setLevel(logging.WARNING)  # "Creating a file package", "WebSocket closed"
        self.client: JobSubmissionClient = JobSubmissionClient(self.address)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What Ray's client raises in the block (RuntimeError of any answer but 200, errors of the network), in words.

        Raises:
            Unreachable: the head did not answer, or did not do what it was asked.
        """
        try:
            yield
        except (RuntimeError, OSError) as error:
            lines = [line for line in str(error).splitlines() if line.strip(" .")]  # Ray hands on a whole traceback
            raise Unreachable(
                [Problem(f"{self.address}: {lines[-1] if lines else type(error).__name__}")],
                next="the same command again; what the head says of it: ray/session_latest/logs/dashboard*.log there",
            ) from error

    def find(self, name: str) -> JobDetails | None:
        """The job of that submission id, or None."""
        return next((job for job in self._all() if job.submission_id == name), None)

    def get(self, name: str) -> JobDetails:
        """The job of a sweep.

        Raises:
            Refused: the cluster has none of that name; the nearest one is offered.
        """
        job = self.find(name)
        if job is None:
            names = [job.submission_id for job in self._all() if job.submission_id]
            known = f"it has {', '.join(names[-8:])}{nearest(name, names)}" if names else "it has none"
            raise Refused(
                [Problem(f"{self.address} has no job {name!r}; {known}")],
                next=f"stsweep submit SPEC --name {shlex.quote(name)} --address {self.address} --root ROOT",
            )
        return job

    def _all(self) -> list[JobDetails]:
        with self.asked():
            return list(self.client.list_jobs())

    def log(self, name: str) -> str:
        """All that the job of a sweep has printed, in every try since its cluster began."""
        with self.asked():
            return str(self.client.get_job_logs(name))

    def follow(self, name: str, skip: int = 0) -> Exit:
        """Print a job's log as it comes, on stdout; the sweep's exit code when the job has ended.

        Args:
            name: the job's.
            skip: characters of the log that are an earlier try's.

        Raises:
            Unreachable: the connection is lost; the job may go on.
        """
        try:
            asyncio.run(self._print_log(name, skip))
            job = self.get(name)
        except KeyboardInterrupt:
            say(f"\nno longer followed; the sweep goes on\n{self.commands(name)}", sys.stderr)
            return Exit.INTERRUPTED
        except Refused:
            raise
        except Exception as error:  # of aiohttp, requests, Ray: the connection's, in many forms
            raise self._lost(name, str(error)) from error
        if not job.status.is_terminal():
            raise self._lost(name, "the head closed it")
        if said := ended_otherwise(job):
            say(said, sys.stderr)
        return exit_of(job)

    async def _print_log(self, name: str, skip: int) -> None:
        lines = aiter(self.client.tail_job_logs(name))
        while True:
            coming = asyncio.ensure_future(anext(lines))
            while not (await asyncio.wait({coming}, timeout=_QUIET_S))[0]:
                if problem := await asyncio.to_thread(jobs_problem, self.address):
                    coming.cancel()
                    raise ConnectionError(problem.message)
            try:
                text = coming.result()
            except StopAsyncIteration:
                return
            new, skip = text[skip:], max(0, skip - len(text))
            if new:
                say(new.removesuffix("\n"))

    def _lost(self, name: str, why: str) -> Unreachable:
        return Unreachable(
            [Problem(f"the connection to {self.address} is lost ({why}); the sweep may go on there")],
            next=f"stsweep logs {shlex.quote(name)} --address {self.address} --follow",
        )

    def stop(self, name: str) -> str:
        """End the job of a sweep: trials save a checkpoint, the record is whole. Waits for its end; what to say then.

        Raises:
            Refused: there is no such job, or it has ended.
            Unreachable: it did not end in time.
        """
        job = self.get(name)
        if job.status.is_terminal():
            raise Refused(
                [Problem(f"job {name} is not running: {job.status.value}")],
                next=f"stsweep status {shlex.quote(name)} --address {self.address}",
            )
        say(f"stopping {name}: running trials save a checkpoint; killed after {STOP_WAIT_S} s", sys.stderr)
        with self.asked():
            self.client.stop_job(name)
        deadline = time.monotonic() + STOP_WAIT_S + 15
        while not (job := self.get(name)).status.is_terminal():
            if time.monotonic() > deadline:
                raise Unreachable(
                    [Problem(f"job {name} is {job.status.value} still")],
                    next=f"stsweep status {shlex.quote(name)} --address {self.address}",
                )
            time.sleep(_POLL_S)
        return f"job {name} is {job.status.value}; the sweep goes on when it is submitted again"

    def commands(self, name: str, *, has_ended: bool = False) -> str:
        """How to look at a job again, and how to stop it, or to go on."""
        at = f"{shlex.quote(name)} --address {self.address}"
        if has_ended:
            return f"Next: stsweep logs {at}; where trials are left: stsweep submit SPEC --address {self.address}"
        return f"Next: stsweep logs {at} --follow, stsweep status {at}\nto stop it: stsweep stop {at}"

    def status_json(self, name: str) -> dict[str, Any]:
        """What `status --address` says of a job, as plain data."""
        job = self.get(name)
        return {
            "name": name,
            "status": job.status.value,
            "root": (job.metadata or {}).get(MARK),
            "started": job.start_time and job.start_time / 1000,
            "ended": job.end_time and job.end_time / 1000,
            "exit_code": int(exit_of(job)) if job.status.is_terminal() else None,
            "message": ended_otherwise(job),
            "log": self.log(name).splitlines()[-_LAST_LINES:],
        }

    def status_text(self, name: str) -> str:
        """The same for a person."""
        about = self.status_json(name)
        lasted = (about["ended"] or time.time()) - (about["started"] or time.time())
        lines = [f"job {name}: {about['status']}, {lasted:.0f} s", f"root on the cluster: {about['root']}"]
        if about["exit_code"] is not None:
            lines.append(f"exit code {about['exit_code']}")
        lines += [about["message"]] if about["message"] else []
        return "\n".join(
            [*lines, *(f"  {line}" for line in about["log"]), self.commands(name, has_ended=about["ended"] is not None)]
        )


def exit_of(job: JobDetails) -> Exit:
    """The exit code of the sweep of a job that has ended."""
    if job.status.value == "SUCCEEDED":
        return Exit.DONE
    if job.status.value == "STOPPED":
        return Exit.TERMINATED
    if job.driver_exit_code is None:  # it never ran, or its node is gone
        return Exit.UNREACHABLE
    try:
        return Exit(job.driver_exit_code)
    except ValueError:  # killed, or a fault of the program
        return Exit.INTERRUPTED if job.driver_exit_code in (-9, 137) else Exit.NONE_COMPLETED


def ended_otherwise(job: JobDetails) -> str | None:
    """What to say of a job that did not end as a sweep does; None of others, which have said all themselves."""
    if job.status.value == "STOPPED":
        return f"job {job.submission_id} was stopped; the sweep goes on when it is submitted again"
    if job.status.value != "FAILED":
        return None
    if job.driver_exit_code is None:
        return f"the cluster could not run the job to its end ({job.error_type}): {job.message}; submit it again"
    if job.driver_exit_code in (-9, 137):
        return "the sweep's driver was killed (SIGKILL); the sweep goes on when it is submitted again"
    return None
