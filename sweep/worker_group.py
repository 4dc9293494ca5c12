"""One trial on several workers: a Ray Train run inside a Tune trial, whose ranks make one attempt together.

Tune's function (a process that trains nothing) starts a `TorchTrainer`, and takes the rows of rank 0 from a `Desk`: an
actor between the two, for a row must reach Tune and Tune's answer must reach rank 0 before it trains on. Ray's own
`TuneReportCallback` has no answer, and can lose the last report of a fast end (ray 2.60).

When Tune stops the trial, the ranks are told and end by themselves, so that Train gives their workers and GPUs back as
after any run. Ray Train's own retries are off, so that there is one place that counts deaths: the trial is proposed
again and its ranks go on from its checkpoint, on however many workers. Nothing is read from what Train keeps.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.attempt import attempt, fail
from sweep.files import disk_fault
from sweep.no_score import state_without_score
from sweep.nodes import gone_among
from sweep.object_store.store import StorageFault
from sweep.object_store.trial import TrialHome, open_trial, watch_pause
from sweep.trial_folder import SupersededError, UnsharedError, check_newest, check_shared, keep_error

if TYPE_CHECKING:
    from sweep.placement import Ask
    from sweep.trial import Job

_LOOK_S = 0.2
"""Between two looks at whether the run has ended or the sweep pauses, while no row comes."""
_END_S = 60.0
"""For ranks that were told to end."""


class Desk:
    """Where rank 0 hands in a row and waits for the answer, and Tune's function takes it and gives one. A Ray actor.

    It also gives the ranks what opens the store: Train keeps what is in a run's configuration, and shows it.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._rows: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[bool] = asyncio.Queue()
        self._nodes: set[str] = set()

    async def keys(self) -> Mapping[str, str]:
        return self._keys

    async def begin(self, node: str) -> None:
        """A rank is there, on the node of this id."""
        self._nodes.add(node)

    async def nodes(self) -> set[str]:
        """Of the ranks that have begun."""
        return self._nodes

    async def hand_in(self, row: dict[str, Any]) -> bool:
        """Whether the trial may go on after this row."""
        await self._rows.put(row)
        return await self._answers.get()

    async def take(self) -> dict[str, Any]:
        """The next row; to be answered."""
        return await self._rows.get()

    async def answer(self, may_go_on: bool) -> None:
        await self._answers.put(may_go_on)


class RankError(Exception):
    """What a rank failed by: the state that it gives the trial, `errored` or `died`, and what was said."""

    def __init__(self, state: str, said: str) -> None:
        super().__init__(state, said)
        self.state, self.said = state, said

    def __str__(self) -> str:
        return self.said


def run_on_workers(
    job: Job,
    ask: Ask,
    home: TrialHome,
    knobs: Mapping[str, Any],
    report: Callable[[dict[str, Any]], None],
    *,
    storage: Path,
) -> None:
    """`sweep.trial.run_trial`, on several workers.

    Args:
        job: what the sweep's trials share.
        ask: the workers.
        home: the trial's, which every worker reaches.
        knobs: the flat configuration.
        report: hands a row to Tune; raises SystemExit when Tune stops the trial.
        storage: a folder for what Train keeps; nobody reads it.

    Raises:
        Exception: a worker died, or a disk failed; Tune counts it as an error of the trial.
        SystemExit: Tune stopped the trial; the workers have ended.
    """
    import ray

    desk: Any = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=_this_node()).remote(home.keys)
    run = _Run(_trainer(job, ask, replace(home, keys={}), knobs, desk, storage))
    run.start()
    try:
        with watch_pause(home, job.pause) as pause:
            _pass_on(run, desk, report, pause)
        nodes = ray.get(desk.nodes.remote())
    finally:
        ray.kill(desk)
    if run.error is not None:
        _judge(run.error, nodes, job, home, knobs, report)


def _pass_on(run: _Run, desk: Any, report: Callable[[dict[str, Any]], None], pause: Path | None) -> None:
    """Rows to Tune and answers to rank 0, until the run has ended; or the sweep pauses before its ranks have begun."""
    import ray

    waiting = desk.take.remote()
    while True:
        ready, _ = ray.wait([waiting], timeout=_LOOK_S)
        if ready:
            try:
                report(ray.get(waiting))
            except SystemExit:
                ray.get(desk.answer.remote(False))
                run.join(_END_S)
                if run.is_alive():
                    os._exit(1)  # Tune would use this process again beside it; Ray takes the run away with the process
                raise
            waiting = desk.take.remote()  # before the answer: the next row may come at once
            desk.answer.remote(True)
        elif not run.is_alive():
            return
        elif pause is not None and pause.exists() and not ray.get(desk.nodes.remote()):
            return  # its workers wait for a place; Ray takes the run away with this process


class _Run(threading.Thread):
    """`trainer.fit()` beside the thread that talks to Tune; `error` is what it raised."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(daemon=True)
        self._trainer = trainer
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self.error = error


def _trainer(job: Job, ask: Ask, home: TrialHome, knobs: Mapping[str, Any], desk: Any, storage: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    return TorchTrainer(
        _rank,
        train_loop_config={"job": job, "home": home, "knobs": dict(knobs), "desk": desk},
        scaling_config=ScalingConfig(
            num_workers=ask.workers,
            use_gpu=ask.gpus > 0,
            resources_per_worker={"CPU": ask.cpus, "GPU": ask.gpus},
        ),
        torch_config=TorchConfig(backend="nccl" if ask.gpus else "gloo"),
        run_config=RunConfig(
            # A name used before would go on from what Train kept under it.
            name=f"{home.folder.name}-{uuid.uuid4().hex[:8]}",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # type: ignore[call-arg]
        ),
    )


def _rank(config: dict[str, Any]) -> None:
    """One rank's part, in a worker of Train."""
    import ray

    from model.ranks import Ranks

    desk = config["desk"]
    ranks = Ranks.of_this_process()
    ray.get(desk.begin.remote(ray.get_runtime_context().get_node_id()))

    def report(row: dict[str, Any]) -> None:
        if not ray.get(desk.hand_in.remote(row)):
            raise SystemExit

    home = replace(config["home"], keys=ray.get(desk.keys.remote()))
    try:
        if home.place is None:
            check_shared(home.folder)
        with open_trial(home, ranks=ranks) as at:
            job = at.job(config["job"])
            try:
                attempt(job, at.folder, config["knobs"], report, number=home.attempt, ranks=ranks)
            except SupersededError:
                raise
            except Exception:
                with suppress(StorageFault):
                    job.publish()  # how long it took
                raise
            job.publish()
    except SystemExit:
        return
    except Exception as error:
        raise _as_rank_error(error) from None


def _as_rank_error(error: Exception) -> RankError:
    """Plain texts, which every process can read."""
    import torch

    if why := disk_fault(error):
        return RankError("disk", why)
    if isinstance(error, SupersededError):  # the first rank's alone, and the others wait for it
        return RankError("superseded", str(error))
    if state := state_without_score(error):
        return RankError(state, str(error))
    text = traceback.format_exc()
    # CUDA answers every later call with the same error; of a peer that died the others know by these; and a node
    # without the trial's folder is no fault of the trial.
    broken = (torch.AcceleratorError, torch.distributed.DistError, UnsharedError)
    is_of_peers = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("gloo", "nccl"))
    if isinstance(error, broken) or is_of_peers:
        return RankError("died", text)
    return RankError("errored", text)


_WEIGHT = ("superseded", "disk", "infeasible", "diverged", "errored", "died")
"""Of several ranks' errors the first of these is why; the others followed."""


def _judge(
    error: BaseException,
    nodes: Collection[str],
    job: Job,
    home: TrialHome,
    knobs: Mapping[str, Any],
    report: Callable[[dict[str, Any]], None],
) -> None:
    """What the failure of a run means for the trial; raised where its workers died, on these nodes."""
    causes = [_cause(each) for each in getattr(error, "worker_failures", {}).values()]
    found = [cause for cause in causes if cause is not None]
    first = min(found, key=lambda each: _WEIGHT.index(each.state), default=None)
    has_died = len(found) < len(causes)
    if first is not None and first.state == "superseded":
        return
    if first is None or first.state in ("disk", "died") or (first.state == "errored" and has_died):
        if (first is None or first.state != "disk") and (gone := gone_among(nodes)):
            # What a surviving rank says is that a connection broke.
            raise RuntimeError(f"a worker died because its node has died: {', '.join(gone)}") from error
        raise error
    with open_trial(home, role="judges") as at, suppress(SupersededError):
        own = at.job(job)
        if first.state == "errored":
            check_newest(at.folder, home.attempt)
            keep_error(at.folder, first.said)
            own.publish()
        else:
            fail(own, at.folder, knobs, report, first.state, first.said, number=home.attempt)  # type: ignore[arg-type]


def _cause(error: BaseException | None) -> RankError | None:
    """The rank's own error inside what Train and Ray wrapped around it."""
    while error is not None and not isinstance(error, RankError):
        error = getattr(error, "_base_exc", None) or getattr(error, "cause", None) or error.__cause__
    return error


def _this_node() -> Any:
    """Beside the process that asks: who dies with it needs no looking after."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
