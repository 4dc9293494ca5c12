"""`stsweep bench`: what is refused, and how what was measured is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.score import Score
from model.config import EncoderConfig
from sweep.bench import bench
from sweep.bench_process import BenchProcess
from sweep.bench_table import BenchRow, BenchTable, Conditions, Measured
from sweep.errors import Exit, Refused, Unreachable
from tests.tiny import tiny_encoder_folder

SCORE = Score("demo", "test", 434, 61.5, 60.0, None)
FP32 = Measured("cpu", 90_300_000, 400.0, 5.04, 6.06, 266_000_000, 700_000_000, [SCORE])
INT8 = replace(FP32, file_bytes=45_150_000, sentences_per_second=1000.0, latency_ms_median=2.0)
CONDITIONS = Conditions(2, 512, 3, 150, {"torch": "2.13.0"})


def table(*rows: BenchRow) -> BenchTable:
    return BenchTable(rows, CONDITIONS)


def cells(text: str, line: int) -> list[str]:
    return [cell for cell in text.splitlines()[line].split("  ") if cell]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder_folder(tmp_path_factory.mktemp("encoder")))


def test_sizes_and_speeds_are_compared_with_the_first_line() -> None:
    text = table(
        BenchRow("a", "cls", "fp32", 22_565_376, FP32), BenchRow("a", "cls", "int8", 22_565_376, INT8)
    ).to_text()
    first, second = ([cell.strip() for cell in cells(text, line)] for line in (1, 2))
    assert first == ["a", "fp32", "22.6 M", "90.3", "1.00", "400", "1.00", "5.0", "6.1", "266", "700", "61.50"]
    assert second[3:7] == ["45.1", "0.50", "1000", "2.50"]


def test_the_columns_of_the_table_are_aligned() -> None:
    text = table(
        BenchRow("a", "cls", "fp32", 1_000_000, FP32),
        BenchRow("a-longer-name", "cls", "bf16", 1_000_000, None, "why"),
        BenchRow("a-longer-name", "cls", "int8", 1_000_000, INT8),
    ).to_text()
    lines = text.splitlines()[:4]
    assert len({len(line) for line in lines}) == 1
    assert len({line.index(name) for line, name in zip(lines[1:], ["fp32", "bf16", "int8"], strict=True)}) == 1


def test_a_line_without_numbers_says_why() -> None:
    failed = BenchRow("b", "cls", "int8", 1_000_000, None, "onnx not installed; pip install 'stsweep[onnx]'")
    found = table(BenchRow("b", "cls", "fp32", 1_000_000, FP32), failed)
    assert found.to_text().splitlines()[2].split() == ["b", "int8", "1.0", "M", *["–"] * 9]
    assert "b int8: not measured: onnx not installed; pip install 'stsweep[onnx]'" in found.to_text()
    row = found.to_json()["rows"][1]
    assert row["failure"].startswith("onnx not installed")
    assert "file_bytes" not in row


def test_nothing_is_compared_with_a_first_line_without_numbers() -> None:
    text = table(BenchRow("b", "cls", "fp32", 10, None, "why"), BenchRow("b", "cls", "int8", 10, INT8)).to_text()
    assert [cell.strip() for cell in cells(text, 2)][4] == "–"


def test_json_has_whole_numbers_and_the_conditions() -> None:
    found = json.loads(json.dumps(table(BenchRow("a", "cls", "fp32", 22_565_376, FP32)).to_json()))
    row = found["rows"][0]
    assert (row["parameters"], row["file_bytes"], row["latency_ms_p95"]) == (22_565_376, 90_300_000, 6.06)
    assert row["scores"][0]["spearman"] == 61.5
    assert found["conditions"]["threads"] == 2


def test_the_note_says_threads_versions_and_pooling() -> None:
    text = table(BenchRow("a", "avg_last4", "fp32", 10, FP32)).to_text()
    assert "cpu, 2 threads; torch 2.13.0" in text
    assert "pooling: a avg_last4" in text


def test_all_mistakes_are_told_at_once(encoder: str) -> None:
    with pytest.raises(Refused) as refusal:
        bench([encoder, f"{encoder}-not"], precisions=["fp16", "int4"], threads=0)
    text = str(refusal.value)
    assert "'fp16' is no precision; did you mean bf16?; allowed: fp32, bf16, int8" in text
    assert "'int4' is no precision" in text
    assert "--threads: 0 is not allowed" in text
    assert f"{encoder}-not" in text


def test_an_encoder_that_is_not_there_is_unreachable(encoder: str) -> None:
    with pytest.raises(Unreachable) as refusal:
        bench([encoder, f"{encoder}-not"])
    assert refusal.value.exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize(("models", "precisions"), [([], ["fp32"]), (["lexical"], []), ([], [])])
def test_nothing_to_measure_is_refused(models: list[str], precisions: list[str]) -> None:
    with pytest.raises(Refused):
        bench(models, precisions=precisions)


def test_without_the_extra_the_other_precisions_are_written_all_the_same(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.onnx_export.missing_packages", lambda: ["onnx", "onnxruntime"])
    config = EncoderConfig(name=encoder, pooling="cls")
    prepared = BenchProcess().prepare(config, ["fp32", "bf16", "int8"], tmp_path)
    assert set(prepared.file_bytes) == {"fp32", "bf16"}
    assert prepared.failures == {"int8": "onnx and onnxruntime not installed; pip install 'stsweep[onnx]'"}
