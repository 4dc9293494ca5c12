"""`stsweep bench` with real processes: every number is there, and stands for what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from evaluation.score import score
from evaluation.tasks import load_pairs
from model.config import EncoderConfig
from model.encoder import load_encoder
from sweep.bench import PRECISIONS
from sweep.bench_process import fresh_process

pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

SCRIPT = """
import json, sys
from sweep.bench import bench

if __name__ == "__main__":
    table = bench(["encoder"], changes=["encoder.pooling=avg_last4"], threads=1)
    print(json.dumps(table.to_json() | {"torch": "torch" in sys.modules}))
"""

KILLED = """
import os, signal
from multiprocessing import active_children
from sweep.bench_process import fresh_process

if __name__ == "__main__":
    with fresh_process():
        print(active_children()[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def found(workshop: Path, environment: dict[str, str]) -> dict[str, Any]:
    script = workshop / "bench_encoder.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=workshop, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert [row["precision"] for row in found["rows"]] == list(PRECISIONS)
    assert [row["failure"] for row in found["rows"]] == [None] * len(PRECISIONS)
    return {row["precision"]: row for row in found["rows"]}


def test_every_precision_has_every_number(rows: dict[str, dict[str, Any]]) -> None:
    for row in rows.values():
        assert row["sentences_per_second"] > 0
        assert 0 < row["latency_ms_median"] <= row["latency_ms_p95"]
        assert 0 < row["memory_bytes"] < row["process_bytes"]


def test_fp32_scores_what_the_encoder_scores_and_the_others_nearly(
    rows: dict[str, dict[str, Any]], workshop: Path
) -> None:
    encoder = load_encoder(EncoderConfig(name=str(workshop / "encoder"), pooling="avg_last4"))
    expected = score(encoder, [load_pairs("demo", "test", None)])[0].spearman
    spearman = {precision: row["scores"][0]["spearman"] for precision, row in rows.items()}
    assert spearman["fp32"] == pytest.approx(expected, abs=0.05)
    assert spearman["bf16"] == pytest.approx(expected, abs=3)
    assert spearman["int8"] == pytest.approx(expected, abs=3)
    assert len(set(spearman.values())) == len(PRECISIONS), "precisions that do not differ at all"


def test_parameters_and_files_are_the_encoders(rows: dict[str, dict[str, Any]], workshop: Path) -> None:
    weights = (workshop / "encoder" / "model.safetensors").stat().st_size
    assert 4 * rows["fp32"]["parameters"] == pytest.approx(weights, rel=0.1)
    assert rows["fp32"]["file_bytes"] == pytest.approx(weights, rel=0.02)
    assert rows["bf16"]["file_bytes"] < 0.6 * weights


def test_the_command_itself_loads_no_torch(found: dict[str, Any]) -> None:
    assert found["torch"] is False


def test_a_process_that_dies_is_noticed() -> None:
    with fresh_process() as process:
        next(child for child in active_children() if child.name.startswith("_Manager")).kill()
        with pytest.raises((EOFError, ConnectionError)):
            process.memory()


def test_no_process_outlives_a_command_that_was_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    # Its output goes to a file: an orphan would hold a pipe open, and reading it would wait for the orphan.
    with (tmp_path / "pid").open("w") as output:
        subprocess.run([sys.executable, str(script)], env=environment, stdout=output, timeout=60)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").exists() else True
