"""SIGKILL at random moments: of the driver, a trial or all of Ray, with a resume each time.

    python benchmarks/kills.py [--kills 20] [--trials 80] [--slots 1] [--seed 0]

Beside an undisturbed sweep of the same file. With one slot it must find the same trials with the same rows; with
several every trial once. No trial may end as errored. After a killed trial the driver is killed too; after a killed Ray
in every second round, in the others the driver lives on and must end by itself.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from model.corpus import read_corpus
from tests.cluster.driving import Sweep, outcome
from tests.tiny import tiny_encoder_folder

ALONE_S = 120
"""Seconds in which a driver whose Ray was killed must have ended."""
TRIALS_A_KILL = 4
"""A kill comes while two of these are trained at the latest, so that work is left for the last one, also on a host that
has become faster. With 24 trials for twenty kills the sweep once ended before the twentieth."""
WHOLE_S = 3600
"""Seconds in which a sweep must have ended."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--trials", type=int, help=f"default: {TRIALS_A_KILL} times the kills")
    options.add_argument("--slots", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    asked.trials = asked.trials or TRIALS_A_KILL * asked.kills
    draw = random.Random(asked.seed)
    workshop = Path(tempfile.mkdtemp(prefix="kills"))
    tiny_encoder_folder(workshop / "encoder", architecture="distilbert", layers=6, width=32)
    (workshop / "corpus.txt").write_text("\n".join(read_corpus(["demo"])[:300]) + "\n")
    environment = os.environ | {
        "STSWEEP_CACHE": str(workshop / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    calm = Sweep(workshop, environment, "calm", trials=asked.trials, slots=asked.slots)
    begin = time.monotonic()
    if calm.start().wait(timeout=WHOLE_S) != 0:
        print(calm.log.read_text())
        return 1
    calm_seconds = time.monotonic() - begin
    begun_s = min(row.time for trial in calm.record.trials() for row in trial.rows) - calm.record.about["created"]
    # Some kills meet Ray's start; the others are so close that the sweep does not end before the last.
    longest_s = begun_s + (calm_seconds - begun_s) / asked.kills / 2
    print(f"undisturbed: {len(outcome(calm.record))} trials in {calm_seconds:.0f} s", flush=True)
    killed = Sweep(workshop, environment, "killed", trials=asked.trials, slots=asked.slots)
    done: Counter[str] = Counter()
    begin = time.monotonic()
    while sum(done.values()) < asked.kills:
        driver = killed.start()
        until = time.monotonic() + draw.uniform(0, longest_s)
        while time.monotonic() < until and driver.poll() is None:
            time.sleep(0.05)
        if driver.poll() == 0:
            print("the sweep ended before all kills: give more --trials")
            break
        what = draw.choice(["driver", "trial", "ray"])
        was_there = killed.kill(what)
        if was_there:
            done[what] += 1
            print(f"kill {sum(done.values())}: {what}, {_standing(killed)}", flush=True)
        if was_there and what == "ray" and done["ray"] % 2:
            if not _ends(driver):
                print(f"the driver of a killed Ray still lived after {ALONE_S} s")
                killed.clean()
                return 1
        elif what != "driver":  # a driver outlives its trial; the next kill is of it, and counts for itself
            time.sleep(draw.uniform(0, 5))
            if driver.poll() is None:
                driver.kill()
                done["driver"] += 1
        driver.wait()  # and no longer: resumed at once, as a user would, while Ray's last processes still go
    code = killed.start().wait(timeout=WHOLE_S)
    seconds = time.monotonic() - begin
    print(f"{dict(done)} kills, then exit code {code}, {seconds:.0f} s in all")
    expected, found = outcome(calm.record), outcome(killed.record)
    numbers = [trial["number"] for trial in found]
    states = Counter(trial["state"] for trial in found)
    whole = numbers == list(range(asked.trials)) and not states["interrupted"] and not states["errored"]
    enough = sum(done.values()) >= asked.kills
    same = found == expected
    print(f"trials {len(found)} of {asked.trials}: {dict(states)}; kills {sum(done.values())} of {asked.kills}")
    print(f"each ended once, none errored: {whole}; the same rows as undisturbed: {same}")
    for each in (calm, killed):
        each.clean()
    return 0 if code == 0 and enough and whole and (same or asked.slots > 1) else 1


def _ends(driver: subprocess.Popen[bytes]) -> bool:
    try:
        driver.wait(timeout=ALONE_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _standing(sweep: Sweep) -> str:
    try:
        trials = sweep.record.trials()
    except Exception:
        return "no record yet"
    return f"{sum(trial.ended is not None for trial in trials)} trials ended, {len(trials)} begun"


if __name__ == "__main__":
    sys.exit(main())
