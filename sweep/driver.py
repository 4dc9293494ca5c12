"""The driver: one process that runs one sweep on Ray, from a checked spec to a finished record.

It starts Ray (or joins the cluster of `address`), prepares what all trials share, and hands the rest to Tune: our
searcher proposes, our scheduler stops, actors are reused from trial to trial. Nothing hangs on Tune's
callbacks, an exception in which would end the sweep: the table and MLflow follow the record instead.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cluster import job_has_working_dir
from sweep.errors import Problem, Unreachable
from sweep.growth import cluster_now, growing_cluster
from sweep.object_store.keys import PLACES, keep_secrets_from_logs, secrets_here
from sweep.object_store.trial import TrialHome, open_trial
from sweep.passwords import without_passwords
from sweep.placement import Ask
from sweep.record import Record
from sweep.resources import Cluster, ask_of, asks_of, has_room, threads
from sweep.say import say
from sweep.signals import Signals
from sweep.trial import Job, run_trial
from sweep.upload import RAYS_LIMIT_BYTES, copy_limited
from sweep.worker_group import run_on_workers

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

PASSED_ON = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE"),
    *("STSWEEP_CACHE", "XDG_CACHE_HOME", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"),
    *PLACES,
)
"""Variables of the driver that its workers need; Ray gives a worker the environment of its node, not of its driver.

One that holds a password stays behind: every node logs what it is given. A Ray of our own has all of the driver's.
"""

_WORKERS = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # A trial that asks no GPU sees none; Ray 2.60 by default leaves it all, and every trial would take the first.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # A stopped trial's thread must end before its actor is reused; it may be freeing memory. Ray waits 2 s.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    # Ray Train looks at its workers every 2 s by default, and would notice their end so late.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it waits for a checkpoint of Train's own; we have the last of ours
}

_RAY = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A trial that was paused or failed before its first rung has reported nothing; Tune would end the sweep for it.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # sweep/signals.py has its own
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a traceback of Ray's for every worker that died; the bridge says it in a line
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # else one actor starts after the other; the bridge knows the room
    # Ray's agents outlive a killed Ray by five of these, 75 s by default; some by 60 s more, which nothing shortens.
    "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # as in the workers
}

_HERE = {
    # Killed, a Ray of our own does not come back; without this the driver waits 60 s for it before it ends.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    # Ray's switch for one machine alone, read when it is imported: its dozen ports are then on loopback.
    # `_node_ip_address="127.0.0.1"` does not do it, for Ray puts the machine's own address in its place
    # (`resolve_ip_for_localhost` of ray/_private/services.py).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""For a Ray of our own on this machine."""

RELIED_ON = _RAY | _HERE
"""Variables that a sweep sets before Ray starts, unless the environment has them with another value."""


@contextmanager
def ray_session(address: str | None, code: Path, *, dashboard: bool = False) -> Iterator[Cluster]:
    """Ray for one sweep: its own on this machine when `address` is None, else the cluster there.

    Args:
        address: of a cluster, as `cluster_address` has it and `cluster_problem` has looked at it.
        code: where the workers' code is copied to, unless the job that this process is has brought it.
        dashboard: start one with a Ray of our own: Ray Train asks its State API which workers' places to give back
            after a death (`PlacementGroupCleaner` of ray 2.60).

    Raises:
        Refused: the code is more than Ray hands on.
        Unreachable: nothing answers at `address`.
    """
    variables = _RAY if address is not None else _RAY | _HERE
    os.environ.update({name: value for name, value in variables.items() if name not in os.environ})
    import ray

    passed, kept = passed_on()
    if address is not None and kept:
        say(f"note: {', '.join(kept)}: with a password, so not sent to the nodes; set it there", sys.stderr)
    environment: dict[str, Any] = {"env_vars": _WORKERS | passed}
    if not job_has_working_dir():
        shutil.rmtree(code, ignore_errors=True)
        # Without a working directory Ray puts the driver's folder on the workers' path, where a user's own `model.py`
        # would shadow ours. The copy is also a record of the code that ran.
        copy_limited(code, RAYS_LIMIT_BYTES)
        environment["working_dir"] = str(code.resolve())
    arguments: dict[str, Any] = {"runtime_env": environment, "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        arguments |= {"address": "local", "include_dashboard": dashboard, "object_store_memory": 200 * 2**20}
    else:
        arguments |= {"address": address}
    try:
        ray.init(**arguments)
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(
            [Problem(f"no Ray cluster answers at {address}: {error}", key="--address")],
            next="ray status, or leave --address and RAY_ADDRESS out to run on this machine",
        ) from error
    except RuntimeError as error:  # another version of Ray or Python there: over TLS nobody has asked it before
        if address is None:
            raise
        raise Unreachable(
            [Problem(" ".join(str(error).split()), key="--address")],
            next="install the cluster's versions here, or these on the cluster",
        ) from error
    try:
        yield cluster_now() if address is None else growing_cluster()
    finally:
        ray.shutdown()


def passed_on() -> tuple[dict[str, str], list[str]]:
    """What is passed on of the driver's environment, and the names of what is not."""
    given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    passed = {name: value for name, value in given.items() if without_passwords(value) == value}
    return passed, sorted(given.keys() - passed.keys())


def prepare_sweep(spec: SweepSpec, record: Record, job: Job) -> None:
    """Make what the trials share, in a worker, and write the baselines to the record.

    Raises:
        Exception: what the worker raised, as the `cause` of Ray's own error.
    """
    import ray

    from sweep.prepare import prepare
    from sweep.spec.space import first_config

    config = first_config(spec)
    ask = ask_of(spec.resources, config.flatten())
    preparing = ray.remote(prepare).options(num_cpus=ask.cpus, num_gpus=ask.gpus)
    record.write_baselines(ray.get(preparing.remote(config, job)))


def run_trials(
    spec: SweepSpec, record: Record, job: Job, cluster: Cluster, signals: Signals, *, grows: bool = False
) -> str | None:
    """Run every trial of a prepared sweep that has not ended; returns when all have, or when the sweep was closed.

    Args:
        spec: the sweep's.
        record: driven by this process.
        job: what the trials share.
        cluster: what there is now, and what there may be.
        signals: told how to close the sweep.
        grows: whether it may have other nodes at each moment; else it is this machine.

    Returns:
        Why the sweep was closed before its trials were all run (a limit, a target, faults in a row, a signal); None
        when it was not.

    Raises:
        KeyboardInterrupt: a second signal came, or the grace after SIGTERM is over.
    """
    from ray import tune

    from sweep.searcher import make_bridge

    bridge, scheduler, closing = make_bridge(spec, record, room=partial(_has_room, spec, cluster, grows))
    folder, resources = record.folder.resolve(), spec.resources

    place = record.share.place

    def trial(config: dict[str, Any], keys: Mapping[str, str]) -> None:
        knobs, number = config["knobs"], config["attempt"]
        ask = ask_of(resources, knobs)
        own = replace(job, threads=threads(ask))
        home = TrialHome(folder / "trials" / f"{config['number']:04d}", number, place, keys)
        if ask.workers > 1:
            run_on_workers(own, ask, home, knobs, tune.report, storage=folder / "ray")
            return
        with open_trial(home) as at:
            run_trial(at.job(own), at.folder, knobs, tune.report, number=number)

    shutil.rmtree(record.folder / "ray", ignore_errors=True)  # of an earlier driver; Ray would write over it
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, keys=secrets_here() if place else {}),
            lambda config: _bundle(ask_of(resources, config["knobs"])),
        ),
        tune_config=tune.TuneConfig(
            search_alg=bridge,
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when it has no more, and when there is no room
            reuse_actors=_may_reuse(spec),
            trial_name_creator=lambda ray_trial: f"{ray_trial.config['number']:04d}",
            trial_dirname_creator=lambda ray_trial: f"{ray_trial.config['number']:04d}",
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder),
            verbose=0,
            callbacks=[_quiet()],
        ),
    )
    keep_secrets_from_logs()
    signals.close = closing.close
    record.share.watch(closing.close)
    # "Trials did not complete": Tune's name for one whose worker died, and which the bridge proposed again.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    tuner.fit()
    return closing.why


def _quiet() -> Any:
    """In place of Tune's own, which at any verbosity prints "completed" of a trial that was paused."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Quiet(TrialProgressCallback):
        def _print(self, msg: str) -> None:
            pass

    return Quiet()


def _may_reuse(spec: SweepSpec) -> bool:
    """Whether the process of an ended trial waits for the next one: a new one imports torch again, 2.6 s against 0.5 s.

    Tune does not end a trial whose process it keeps, so that it holds its CPUs and GPUs, and its workers theirs; where
    trials take different things, or several workers, another one would wait for them for ever.
    """
    first, *others = set(asks_of(spec.resources).values())
    return not others and first.workers == 1


def _bundle(ask: Ask) -> Any:
    """What Tune reserves for a trial. Of several workers Train reserves what they take, and Tune next to nothing."""
    from ray.tune import PlacementGroupFactory

    # A byte of memory: a bundle must hold something, and a CPU that each such trial held would be missing.
    return PlacementGroupFactory([{"CPU": ask.cpus, "GPU": ask.gpus} if ask.workers == 1 else {"memory": 1}])


def _has_room(spec: SweepSpec, cluster: Cluster, grows: bool, open_trials: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one more trial may be proposed beside those of these configurations."""
    asks = [ask_of(spec.resources, knobs) for knobs in open_trials]
    now = replace(cluster, nodes=cluster_now().nodes) if grows else cluster
    return has_room(spec.resources, asks, now, grows=grows)


def needs_dashboard(spec: SweepSpec) -> bool:
    """Whether some trial has several workers."""
    return any(ask.workers > 1 for ask in asks_of(spec.resources).values())
