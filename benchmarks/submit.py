"""How long a submitted sweep takes to its first row on a head of this machine, and what is uploaded.

    python benchmarks/submit.py [--turns 3]

Each turn is `stsweep submit … --detach` from a fresh process, timed from its start until a trial's first row is on
disk, then `stsweep stop`, timed too. The head is real (two CPUs, dashboard, token), the encoder small, so that what is
measured is the way there: the program's start, upload, the job's start, the driver's, Ray's workers, the preparation.
The upload is what the command prints; the first turn sends it, and the head knows it from then on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOUSE = Path(__file__).parents[1]
sys.path.insert(0, str(HOUSE))

from model.corpus import read_corpus  # noqa: E402
from tests.cluster.conftest import running_head  # noqa: E402
from tests.cluster.driving import SPEC  # noqa: E402
from tests.tiny import tiny_encoder_folder  # noqa: E402

_LIMIT_S = 300


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--turns", type=int, default=3)
    turns = arguments.parse_args().turns
    with tempfile.TemporaryDirectory(prefix="submit-") as name:
        folder = Path(name)
        tiny_encoder_folder(folder / "encoder", architecture="distilbert", layers=6, width=32)
        (folder / "corpus.txt").write_text("\n".join(read_corpus(["demo"])[:300]) + "\n")
        text = SPEC.format(
            encoder=folder / "encoder", corpus=folder / "corpus.txt", trials=3, slots=1, checkpoint_seconds=60
        )
        (folder / "spec.yaml").write_text(text.replace("NAME", "submit"))
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "STSWEEP_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(HOUSE),
        }
        environment.pop("RAY_ADDRESS", None)
        with running_head(environment) as head:
            found = [_turn(folder, head.dashboard, environment | head.credentials, turn) for turn in range(turns)]
    for what, unit, values in zip(
        ("submitted", "first row", "stopped", "upload"), ("s", "s", "s", "MB"), zip(*found, strict=True), strict=True
    ):
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"{what:<10} median {statistics.median(values):6.1f} {unit}  ({each})")
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _turn(folder: Path, address: str, environment: dict[str, str], turn: int) -> tuple[float, float, float, float]:
    """Seconds from the command's start to its end and to the first row, seconds of the stop, and MB uploaded."""
    root, name, begin = folder / "root", f"turn-{turn}", time.monotonic()

    def stsweep(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sweep", *command, "--address", address],
            cwd=folder, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip

    said = stsweep("submit", "spec.yaml", "--root", str(root), "--name", name, "--detach").stderr
    submitted = time.monotonic() - begin
    while not any(path.stat().st_size for path in (root / name).glob("trials/*/rows.jsonl")):
        if time.monotonic() - begin > _LIMIT_S:
            sys.exit(f"no row within {_LIMIT_S} s; {root / name}")
        time.sleep(0.05)
    first = time.monotonic() - begin
    begin = time.monotonic()
    stsweep("stop", name)
    return submitted, first, time.monotonic() - begin, float(said.partition("uploading ")[2].partition(" MB")[0])


if __name__ == "__main__":
    main()
