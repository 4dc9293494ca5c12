"""512 trials that all report every ten seconds: whether the driver, the table and MLflow keep up.

    python benchmarks/many_reports.py [--trials 512] [--every 10] [--minutes 5] [--scheduler none]

Our searcher, scheduler, record, table and mirror, as in a sweep, with a real MLflow server over SQLite; in place of
Tune and its workers a simulated world at the pace of this clock, whose trials all report at the same moment, the worst
case. Their rows are written, with an fsync each, by the driver here. With `--scheduler none` the same trials run to
the end; with `asha` those that it stops are replaced at once, so that the sampler is asked for hundreds between two
reports. Every five seconds: reports that are due and not handled, and rows of the record that the server's database
does not have. Tune's own part is in `scaling.py`.
"""

from __future__ import annotations

import argparse
import io
import sqlite3
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling import new_record

from sweep.searcher import make_bridge
from sweep.simulation.analytic import AnalyticWorld
from sweep.simulation.clock import Clock, simulate
from sweep.simulation.worlds import Curve, Domain
from sweep.spec.sweep_spec import SweepSpec, load_spec, rungs
from sweep.table import Follower, PlainLines
from sweep.tracking.mirror import Mirror, create_store, quiet_client
from sweep.tracking.ui import served, unused_port

_SPEC = """\
name: reports
train: {{optim: {{batch_size: 16}}, budget: {{sentences: {sentences}}}}}
search:
  optim.learning_rate: {{low: 1e-5, high: 1e-3, log: true}}
  loss.temperature: {{low: 0.01, high: 0.2, log: true}}
  encoder.pooling: {{choices: [cls, avg_last_hidden, avg_last4]}}
sampler: {{name: tpe}}
scheduler: {{name: {scheduler}, grace: 64, reduction_factor: {factor}}}
objective: {{task: demo, split: dev}}
trials: {trials}
tracking_uri: {uri}
"""
_LOOK_EVERY_S = 5.0


class RealClock(Clock):
    """The simulated clock at the pace of this one: the next event waits until it is due."""

    def __init__(self) -> None:
        self._now = time.time()
        self.begin = self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, due: float) -> None:
        time.sleep(max(0.0, due - time.time()))
        self._now = due


class Steady:
    """`AnalyticWorld` in which every trial reports at every rung, so many seconds apart, and none fails."""

    def __init__(self, heights: tuple[int, ...], every: float) -> None:
        self._scores = AnalyticWorld(heights)
        self.rungs, self.domains, self.noise_sd = heights, self._scores.domains, self._scores.noise_sd
        self._every = every
        self.begun = 0

    domains: Mapping[str, Domain]

    def run(self, knobs: Mapping[str, Any], seed: int) -> Curve:
        self.begun += 1
        scores = self._scores.run(knobs, seed).scores
        return Curve(scores, tuple(self._every * (index + 1) for index in range(len(scores))))


def replay(spec: SweepSpec, folder: Path, database: Path, slots: int, every: float, seconds: float) -> None:
    """Run the sweep, print the backlogs, and how long after the last report nothing is left."""
    world, clock = Steady(rungs(spec), every), RealClock()
    record = new_record(spec, folder)
    mirror = Mirror(record, spec.tracking_uri or "")
    mirror.start()
    follower = Follower(record, PlainLines(len(world.rungs), lambda: None, io.StringIO()))
    follower.start()
    searcher, scheduler, _ = make_bridge(spec, record, clock=clock)
    handled = _Count(scheduler)
    watch = threading.Thread(target=_watch, args=(handled, clock.begin, database, slots, every, seconds), daemon=True)
    watch.start()
    simulate(
        searcher,
        scheduler,
        world,
        slots=slots,
        seed=0,
        record=record,
        closing=lambda: handled.reports >= slots * round(seconds / every),
        clock=clock,
    )
    late = time.time() - clock.now
    follower.finish()
    record.release()
    complaints = mirror.finish(timeout_s=600)
    wanted, found = sum(len(trial.rows) for trial in record.trials()), _rows(database)
    print(f"{handled.reports} reports of {world.begun} trials; the last was handled {late:.1f} s after it was due")
    print(
        f"{time.time() - clock.begin - seconds:.1f} s after the last was due: backlog of MLflow {wanted - found} rows"
    )
    print(*complaints, sep="\n", end="")


class _Count:
    """How many reports a scheduler has heard."""

    def __init__(self, scheduler: Any) -> None:
        self.reports = 0
        self._told = scheduler.on_trial_result
        scheduler.on_trial_result = self._count

    def _count(self, *given: Any) -> Any:
        answer = self._told(*given)
        self.reports += 1
        return answer


def _watch(handled: _Count, begin: float, database: Path, slots: int, every: float, seconds: float) -> None:
    print("| second | due, not handled | handled, not in MLflow |\n|---|---|---|")
    while (passed := time.time() - begin) < seconds + every:
        due = slots * int(min(passed, seconds) // every)
        waiting = due - handled.reports
        unsent = handled.reports - _rows(database)
        print(f"| {passed:.0f} | {max(0, waiting)} | {max(0, unsent)} |", flush=True)
        time.sleep(_LOOK_EVERY_S)


def _rows(database: Path) -> int:
    """Scores in the server's database."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as store:
        return int(store.execute("SELECT count(*) FROM metrics WHERE key = 'score'").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=512, help="at once")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two reports of a trial")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--scheduler", choices=["none", "asha"], default="none")
    arguments = parser.parse_args()
    seconds, asha = 60 * arguments.minutes, arguments.scheduler == "asha"
    reports = round(seconds / arguments.every)
    factor = 4.0 if asha else 1.5
    quiet_client()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), unused_port("127.0.0.1")
        database = folder / "server.db"
        create_store(f"sqlite:///{database}")
        text = _SPEC.format(
            sentences=round(64 * factor ** (3 if asha else reports - 1)),
            scheduler=arguments.scheduler,
            factor=factor,
            trials=arguments.trials * reports if asha else arguments.trials,
            uri=f"http://127.0.0.1:{port}",
        )
        (folder / "reports.yaml").write_text(text, encoding="utf-8")
        spec = load_spec(folder / "reports.yaml")
        with served(f"sqlite:///{database}", "127.0.0.1", port, root=folder):
            replay(spec, folder, database, arguments.trials, arguments.every, seconds)


if __name__ == "__main__":
    main()
