"""What an MLflow server that is away costs the trials of a real sweep, and what its store has afterwards.

    python benchmarks/tracking_outage.py [--turns 3] [--trials 30] [--sentences 8000] [--outage-s 180]

Two sweeps a turn, the same trials on one slot with a small encoder: in one the server is up, in the other it is killed
(SIGKILL) when the first trial has reached its first rung, and started again on its port after `--outage-s` seconds, or
at the sweep's end. Every second turn begins with the outage. A trial's time runs from its start to its last row,
waiting for Tune included. Lost and doubled metrics are counted in the server's database against the record's row files,
when the sweep has ended and again when `stsweep ui` has sent the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parents[1]
sys.path.insert(0, str(HOUSE))

from model.corpus import read_corpus  # noqa: E402
from sweep.tracking.mirror import create_store, quiet_client  # noqa: E402
from sweep.tracking.ui import served, unused_port  # noqa: E402
from tests.tiny import tiny_encoder_folder  # noqa: E402

SPEC = """
name: outage
train:
  encoder: {{name: ./encoder}}
  data: {{corpus: [corpus.txt]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: {sentences}}}
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-3, log: true}}
sampler: {{name: random, seed: 0}}
scheduler: {{name: asha, grace: {grace}, reduction_factor: 2}}
objective: {{task: demo, split: dev}}
trials: {trials}
resources: {{cpus_per_worker: 1, concurrent: 1}}
tracking_uri: {uri}
"""
MEASURED = ("score", "loss", "sentences", "train_seconds", "busy_seconds", "alignment", "uniformity", "spread")


class Server:
    """MLflow's server on one port, over one database."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, unused_port("127.0.0.1")
        self.uri = f"http://127.0.0.1:{self._port}"
        self.database = folder / "server.db"
        self._stack = ExitStack()
        quiet_client()
        create_store(f"sqlite:///{self.database}")

    def start(self) -> None:
        server = served(f"sqlite:///{self.database}", "127.0.0.1", self._port, root=self._folder)
        self._pid = self._stack.enter_context(server).pid

    def kill(self) -> None:
        os.killpg(self._pid, signal.SIGKILL)
        self._stack.close()


@dataclass(frozen=True)
class Result:
    """One sweep: seconds of each trial by number, from the first start to the last row, and without server."""

    trials: dict[int, float]
    span: float
    away: float
    found: str
    """What the store has when the sweep has ended."""
    after_ui: str


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended then too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_encoder_folder(folder / "encoder", layers=6)
        (folder / "corpus.txt").write_text("\n".join(read_corpus(["demo"])[:300]) + "\n")
        server = Server(folder)
        server.start()
        spec = SPEC.format(
            sentences=arguments.sentences, grace=arguments.sentences // 8, trials=arguments.trials, uri=server.uri
        )
        (folder / "outage.yaml").write_text(spec)
        try:
            _compare(folder, server, arguments)
        finally:
            server.kill()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--sentences", type=int, default=8_000)
    parser.add_argument("--outage-s", type=float, default=180.0)
    return parser.parse_args()


def _compare(folder: Path, server: Server, arguments: argparse.Namespace) -> None:
    print("| turn | server | away | a trial, mean | first start to last row | store at the end | after `stsweep ui` |")
    print("|---|---|---|---|---|---|---|")
    trials, spans = [], []
    for turn in range(arguments.turns):
        results: dict[float, Result] = {}
        order = [0.0, arguments.outage_s]
        for outage_s in order if turn % 2 == 0 else reversed(order):
            result = results[outage_s] = _measure(folder, server, f"t{turn}-{'away' if outage_s else 'up'}", outage_s)
            print(
                f"| {turn} | {'away' if outage_s else 'up'} | {result.away:.0f} s "
                f"| {statistics.mean(result.trials.values()):.3f} s | {result.span:.1f} s | {result.found} "
                f"| {result.after_ui} |",
                flush=True,
            )
        up, away = results[0.0], results[arguments.outage_s]
        trials.append(statistics.median(away.trials[number] / up.trials[number] for number in up.trials))
        spans.append(away.span / up.span)
    print(f"\naway ÷ up, median trial of each turn: {', '.join(f'{ratio:.3f}' for ratio in trials)}")
    print(f"away ÷ up, first start to last row: {', '.join(f'{ratio:.3f}' for ratio in spans)}")
    print(f"median over the turns: {statistics.median(trials):.3f} a trial (to reach: ≤ 1.02)")


def _measure(folder: Path, server: Server, name: str, outage_s: float) -> Result:
    """Run one sweep, with an outage unless that is 0 seconds long."""
    sweep = folder / "sweeps" / name
    with (folder / f"{name}.log").open("w") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "sweep", "run", "outage.yaml", "--root", "sweeps", "--name", name],
            cwd=folder, env=_environment(folder), stdout=log, stderr=log,
        )  # fmt: skip
        away = _take_away(server, sweep, driver, outage_s) if outage_s else 0.0
        if driver.wait():
            raise SystemExit((folder / f"{name}.log").read_text())
    rows = {
        int(path.parent.name): [json.loads(line) for line in path.read_text().splitlines()]
        for path in sweep.glob("trials/*/rows.jsonl")
    }
    seconds = {number: said[-1]["time"] - said[0]["started"] for number, said in rows.items()}
    span = max(said[-1]["time"] for said in rows.values()) - min(said[0]["started"] for said in rows.values())
    found = _found(server.database, name, rows)
    # What the driver could not send in its last half minute; nothing, when the server came back before.
    ui = [sys.executable, "-m", "sweep", "ui", name, "--root", "sweeps"]
    subprocess.run(ui, cwd=folder, env=_environment(folder), check=True, capture_output=True)
    return Result(seconds, span, away, found, _found(server.database, name, rows))


def _take_away(server: Server, sweep: Path, driver: subprocess.Popen[bytes], outage_s: float) -> float:
    while driver.poll() is None and not any(path.stat().st_size for path in sweep.glob("trials/*/rows.jsonl")):
        time.sleep(0.05)
    server.kill()
    begin = time.monotonic()
    while driver.poll() is None and time.monotonic() - begin < outage_s:
        time.sleep(0.05)
    server.start()
    return time.monotonic() - begin


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(HOUSE), os.environ.get("PYTHONPATH")]))
    variables = os.environ | {"STSWEEP_CACHE": str(folder / "cache"), "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    variables.pop("RAY_ADDRESS", None)
    return variables


def _found(database: Path, name: str, rows: dict[int, list[dict[str, float | None]]]) -> str:
    """Runs and metrics of a sweep in the database, and how they differ from its rows."""
    made = {f"{name}/{number:04d}": said for number, said in rows.items()}
    expected = {
        (run, key, row["rung_index"], row[key])
        for run, said in made.items() for row in said for key in MEASURED if row[key] is not None
    }  # fmt: skip
    with sqlite3.connect(database) as store:
        mine = "lifecycle_stage = 'active' and (name = :name or name like :name || '/%')"
        runs = [run for (run,) in store.execute(f"select name from runs where {mine}", {"name": name})]
        stored = store.execute(
            f"select name, key, step, value from metrics join runs using (run_uuid) where {mine}", {"name": name}
        ).fetchall()
    trials = [point for point in stored if point[1] in MEASURED]
    lost = len(expected - set(trials)) + len({name, *made} - set(runs))
    doubled = len(trials) - len(set(trials)) + len(runs) - len(set(runs))
    return f"{len(runs)} runs, {len(trials)} metrics, {lost} lost, {doubled} doubled"


if __name__ == "__main__":
    main()
