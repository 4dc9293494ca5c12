"""What a newcomer waits for: `--help`, `check`, and the quickstart's time, memory and busy share.

    .venv/bin/python benchmarks/front_door.py [--sweep]

Without `--sweep` only the commands that answer at once are timed (medians of 5). Memory is the peak of the summed
proportional set size (PSS: shared pages counted once in all) of the command and all its descendants, Ray's included.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

STSWEEP = [sys.executable, "-m", "sweep"]


def main() -> None:
    print("| what | median of 5 | figure |\n|---|---|---|")
    for arguments, figure in ((["--help"], 0.5), (["check", "quickstart"], 2.0)):
        print(f"| `stsweep {' '.join(arguments)}` | {median_seconds(arguments):.2f} s | ≤ {figure} s |")
    if "--sweep" in sys.argv:
        measure_quickstart()


def median_seconds(arguments: list[str]) -> float:
    """Wall-clock seconds of a command, median of 5 after a first one that warms the file cache."""
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        subprocess.run([*STSWEEP, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def measure_quickstart() -> None:
    """Run the quickstart with an empty cache, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*STSWEEP, "run", "quickstart", "--root", f"{folder}/sweeps"],
            env=_environment(f"{folder}/cache"),
            stdout=subprocess.PIPE,
            text=True,
        )
        peak = _Peak(process.pid)
        peak.start()
        outcome = process.communicate()[0]
        seconds = time.perf_counter() - begin
        peak.join()
    share = re.search(r"workers busy ([\d.]+)", outcome)
    print(f"| quickstart, empty cache | {seconds:.0f} s (one run) | ≤ 240 s |")
    print(f"| worker busy share | {share[1] if share else 'none'} | ≥ 0.8 |")
    print(f"| peak summed PSS | {peak.bytes / 2**30:.2f} GiB | ≤ 6 GB |")
    print("\n```\n" + outcome.strip() + "\n```")


def _environment(cache: str) -> dict[str, str]:
    import os

    return {**os.environ, "STSWEEP_CACHE": cache}


class _Peak(threading.Thread):
    """Follows a process and its descendants until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.bytes = 0

    def run(self) -> None:
        while Path(f"/proc/{self._pid}/smaps_rollup").exists():
            self.bytes = max(self.bytes, sum(map(_pss, _family(self._pid))))
            if _state(self._pid) == "Z":
                return
            time.sleep(0.5)


def _family(pid: int) -> set[int]:
    """The process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")):
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    family, found = {pid}, {pid}
    while found:
        found = {child for child, parent in parents.items() if parent in found}
        family |= found
    return family


def _pss(pid: int) -> int:
    match = re.search(r"^Pss:\s+(\d+) kB", _read(Path(f"/proc/{pid}/smaps_rollup")), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _state(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[0] or "Z"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended, or has no memory of its own
        return ""


if __name__ == "__main__":
    main()
