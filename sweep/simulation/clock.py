"""The simulated clock: Ray Tune's order of calls on a searcher and a scheduler, in no time and without Ray running.

Tune (ray 2.60, `TuneController`) asks the searcher when a slot is free and tells the scheduler of the new trial. Each
report goes to the scheduler first, and to the searcher only if the trial goes on. A trial that was stopped, or that has
returned, ends with `on_trial_complete` of the scheduler, then of the searcher. A trial that raised ends with
`on_trial_error` and `on_trial_complete(error=True)`. The row of a report is in the record before the scheduler hears.

Tune by itself keeps one proposal pending beside the running trials, made before their next results are known; our
searcher says when there is no room, and keeps one pending on a cluster alone, which may grow. Here a searcher is asked
only when a slot is free, so the plain peer is simulated without that pending proposal: with fresher results than Tune
would give it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweep.files import write_whole
from sweep.record import Record
from sweep.simulation.outcome import Outcome, SimulatedTrial
from sweep.trial_record import ERROR, FLOOR, Row, RowLog, TrialState

if TYPE_CHECKING:
    from sweep.placement import Place
    from sweep.simulation.nodes import SimulatedNodes
    from sweep.simulation.worlds import Curve, World


@dataclass
class Clock:
    """The time of a simulation, in seconds from its start; call it as `time.time` is called."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, eq=False)
class _RayTrial:
    """What a scheduler reads of Tune's trial. Compared by identity, as Tune's is: the median rule uses it as a key."""

    trial_id: str
    config: dict[str, Any]
    status: str = "RUNNING"


@dataclass
class _Running:
    """A trial that holds a slot."""

    ray: _RayTrial
    number: int
    knobs: Mapping[str, Any]
    curve: Curve
    start: float
    sentences: int = 0
    reported: int = 0
    scores: list[float] = field(default_factory=list)
    places: tuple[Place, ...] = ()


def simulate(
    searcher: Searcher,
    scheduler: TrialScheduler,
    world: World,
    *,
    slots: int,
    seed: int,
    record: Record | None = None,
    trials: int | None = None,
    raises: bool = False,
    closing: Callable[[], bool] | None = None,
    until: float = math.inf,
    clock: Clock | None = None,
    nodes: SimulatedNodes | None = None,
) -> Outcome:
    """Run a whole sweep in simulated time.

    Args:
        searcher: Proposes `{"number": …, "knobs": …}` as ours does, or the bare knobs as Ray's own do.
        scheduler: Decides at each rung; needs no `ray.init`.
        world: Says what each trial scores.
        slots: Trials at once.
        seed: Of the world's noise; the sampler has its own.
        record: Where rows are written as a worker would, for a searcher that reads them. None: nowhere.
        trials: Ask for so many at most. None: until the searcher has finished.
        raises: A trial that fails raises, as a plain training function does, in place of reporting the floor.
        closing: Asked after every report whether the sweep closes early; the trials that run then are interrupted.
        until: The sweep closes when a trial reaches the top rung with this score.
        clock: Gets the simulated time as it passes, for who reads it beside the simulation.
        nodes: On which trials are placed; one that has no room waits, and the next ones behind it.
    """
    return _Simulation(
        searcher, scheduler, world, slots, seed, record, trials, raises, closing, until, clock or Clock(), nodes
    ).run()


@dataclass
class _Simulation:
    """One call of `simulate`, whose arguments the first fields are."""

    searcher: Searcher
    scheduler: Any
    """Typed for Tune's own controller and trial, for which a simulation has stand-ins."""
    world: World
    slots: int
    seed: int
    record: Record | None
    trials_left: int | None
    raises: bool
    closing: Callable[[], bool] | None
    until: float
    clock: Clock
    nodes: SimulatedNodes | None
    waiting: list[_Running] = field(default_factory=list)
    """Proposed, and not placed yet."""
    count: Iterator[int] = field(default_factory=itertools.count)
    order: Iterator[int] = field(default_factory=itertools.count)
    """Events of the same moment happen in the order in which they were set."""
    events: list[tuple[float, int, _Running]] = field(default_factory=list)
    ended: list[SimulatedTrial] = field(default_factory=list)
    sentences: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    def run(self) -> Outcome:
        self._fill()
        while self.events:
            self.clock.now, _, running = heapq.heappop(self.events)
            self._report(running)
            if not self._closes():
                self._fill()
            if self._closes():  # asking may be what closed it
                break
        for running in [each for *_, each in sorted(self.events)] + self.waiting:
            self._complete(running, {}, "interrupted")
        return Outcome(
            trials=tuple(sorted(self.ended, key=lambda trial: trial.number)),
            slots=self.slots,
            sentences=self.sentences,
            history=tuple(self.history),
        )

    def _closes(self) -> bool:
        reached = bool(self.history) and self.history[-1][1] >= self.until
        return reached or (self.closing is not None and self.closing())

    def _fill(self) -> None:
        while self.waiting and self._begin(self.waiting[0]):
            del self.waiting[0]
        while len(self.events) + len(self.waiting) < self.slots and self.trials_left != 0:
            count = next(self.count)
            trial_id = f"{count:08x}"
            proposed: Any = self.searcher.suggest(trial_id)
            if proposed is None or proposed == Searcher.FINISHED:
                return
            if self.trials_left is not None:
                self.trials_left -= 1
            knobs = proposed.get("knobs", proposed)
            ray = _RayTrial(trial_id, proposed)
            running = _Running(
                ray, proposed.get("number", count), knobs, self.world.run(knobs, self.seed), self.clock.now
            )
            self.scheduler.on_trial_add(None, ray)
            if self.waiting or not self._begin(running):
                self.waiting.append(running)

    def _begin(self, running: _Running) -> bool:
        """Whether there is a place for a trial; then it runs from now on."""
        if self.nodes is not None:
            places = self.nodes.place(running.knobs)
            if places is None:
                return False
            running.places = places
        running.start = self.clock.now
        self._set(running)
        return True

    def _set(self, running: _Running) -> None:
        """Set the trial's next report."""
        at = running.start + running.curve.seconds[running.reported]
        heapq.heappush(self.events, (at, next(self.order), running))

    def _report(self, running: _Running) -> None:
        index, curve, rungs = running.reported, running.curve, self.world.rungs
        failure = curve.failure if index == len(curve.scores) else None
        before = running.sentences
        running.sentences = rungs[index] if failure is None else before + curve.lost
        self.sentences += running.sentences - before
        running.reported += 1
        score = FLOOR if failure else curve.scores[index]
        running.scores.append(score)
        self._write(running, self._row(running, index, score, failure))
        if failure and self.raises:
            self.scheduler.on_trial_error(None, running.ray)
            self.searcher.on_trial_complete(running.ray.trial_id, error=True)
            self._end(running, failure)
            return
        is_end = index == len(rungs) - 1 and failure is None
        result = {
            "rung": rungs[index],
            "score": score,
            "rung_index": index,
            "failure": failure,
            "is_end": is_end,
            "training_iteration": index + 1,
            "busy_seconds": self.clock.now - running.start,
        }
        stopped = self.scheduler.on_trial_result(None, running.ray, result) == TrialScheduler.STOP
        if not stopped:
            self.searcher.on_trial_result(running.ray.trial_id, result)
            if running.reported < len(curve.seconds):
                self._set(running)
                return
        self._complete(running, result, "completed" if is_end else failure or "stopped")

    def _complete(self, running: _Running, result: dict[str, Any], state: TrialState) -> None:
        self.scheduler.on_trial_complete(None, running.ray, result)
        self.searcher.on_trial_complete(running.ray.trial_id, result=result)
        self._end(running, state)

    def _row(self, running: _Running, index: int, score: float, failure: str | None) -> Row:
        batch = running.knobs.get("optim.batch_size", 1)
        busy = self.clock.now - running.start
        return Row(
            rung_index=index,
            rung=self.world.rungs[index],
            step=-(-running.sentences // batch),
            sentences=running.sentences,
            score=score,
            failure=failure,
            loss=None,
            precision="simulated",
            score_precision=None,
            train_seconds=busy,
            busy_seconds=busy,
            started=running.start,
            time=self.clock.now,
            is_end=index == len(self.world.rungs) - 1 and failure is None,
        )

    def _write(self, running: _Running, row: Row) -> None:
        if self.record is not None:
            folder = self.record.trial_folder(running.number)
            if row.failure:
                write_whole(folder / ERROR, f"{row.failure} in the simulated world\n")
            RowLog(folder).append(row)

    def _end(self, running: _Running, state: TrialState) -> None:
        trial = SimulatedTrial(
            number=running.number,
            knobs=running.knobs,
            scores=tuple(running.scores),
            sentences=running.sentences,
            state=state,
            start=running.start,
            end=self.clock.now,
            places=running.places,
        )
        if self.nodes is not None:
            self.nodes.free(running.places)
        self.ended.append(trial)
        best = self.history[-1][1] if self.history else FLOOR
        if state == "completed" and trial.scores[-1] > best:
            self.history.append((self.sentences, trial.scores[-1]))
