"""What a person sees behind the link of `stsweep ui`: MLflow's own page, in a real browser."""

import os
import time
from pathlib import Path

import pytest

from sweep.record import Record
from sweep.tracking.mirror import Mirror, default_uri
from sweep.tracking.ui import comparison_link, served, unused_port
from sweep.trial_record import FLOOR, Row, RowLog

VARIED = {"encoder.pooling", "loss.temperature", "optim.learning_rate"}
FIXED = {"budget.sentences": 2048, "data.corpus": "demo", "encoder.dropout": None, "encoder.name": "x", "seed": 0}
SCORES = {0: 78.31, 1: 83.97, 2: 80.02, 3: 81.5, 4: 82.75, 5: 79.4}
DIVERGED, ERRORED = 6, 7
POOLINGS = ("cls", "avg_last_hidden", "avg_last4")
PLOT = "document.querySelector('.pcp-plot .js-plotly-plot, .js-plotly-plot.pcp-plot')"


def _row(index: int, score: float, failure: str | None = None) -> Row:
    now = time.time()
    return Row(
        rung_index=index,
        rung=1024 * (index + 1),
        step=16 * (index + 1),
        sentences=1024 * (index + 1),
        score=score,
        failure=failure,
        loss=None if failure else 1.5 / (index + 1),
        precision="fp32",
        score_precision="fp32",
        train_seconds=3.0 * (index + 1),
        busy_seconds=4.0 * (index + 1),
        started=now,
        time=now + index,
    )


def _record(root: Path, name: str, *, failed: bool) -> Record:
    about = {"objective": "demo dev spearman", "rungs": [1024, 2048], "searched": sorted(VARIED), "spec_hash": "0"}
    record = Record.create(root, name, f"name: {name}\n", about)
    for number in (*SCORES, *((DIVERGED, ERRORED) if failed else ())):
        varied = {
            "encoder.pooling": POOLINGS[number % 3],
            "loss.temperature": round(0.02 + 0.01 * number, 2),
            "optim.learning_rate": 1e-5 * (number + 1),
        }
        folder = record.add_trial(number, varied, FIXED | varied)
        if number == ERRORED:
            record.end_trial(number, "errored", "the worker process died")
        elif number == DIVERGED:
            RowLog(folder).append(_row(0, FLOOR, "diverged"))
            record.end_trial(number, "diverged")
        else:
            RowLog(folder).append(_row(0, SCORES[number] - 3))
            RowLog(folder).append(_row(1, SCORES[number]))
            record.end_trial(number, "completed")
    return record


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweeps")
    records = {failed: _record(root, f"pooling-{failed}".lower(), failed=failed) for failed in (True, False)}
    for record in records.values():
        mirror = Mirror(record, default_uri(root))
        mirror.start()
        record.release()
        assert mirror.finish(timeout_s=60) == []
    port = unused_port("127.0.0.1")
    with served(default_uri(root), "127.0.0.1", port, root=root):
        base_url = f"http://127.0.0.1:{port}"
        yield {failed: comparison_link(record, base_url) for failed, record in records.items()}


def _axes(page, link: str) -> dict[str, list[float]]:
    """The values on each axis of the page's parallel coordinates, one a line."""
    page.goto("about:blank")  # the two links differ after `#` only, which alone loads no page
    page.goto(link)
    page.wait_for_function(f"{PLOT}?.data?.[0]?.type === 'parcoords'", timeout=60_000)
    page.wait_for_function("document.querySelectorAll('.parcoords .y-axis').length >= 2", timeout=60_000)
    dimensions = page.evaluate(f"{PLOT}.data[0].dimensions.map(d => [d.label, Array.from(d.values)])")
    return dict(dimensions)


def test_every_trial_is_a_line_failed_ones_too(page, links):
    axes = _axes(page, links[True])
    if picture := os.environ.get("STSWEEP_SCREENSHOT"):
        page.set_viewport_size({"width": 1400, "height": 640})
        page.get_by_role("button", name="Close").first.click()  # MLflow's assistant, which takes a third of the page
        page.wait_for_timeout(1000)
        page.screenshot(path=picture)
    assert axes.keys() == VARIED | {"score"}
    assert {name: len(values) for name, values in axes.items()} == dict.fromkeys(axes, len(SCORES) + 2)
    assert sorted(axes["score"]) == sorted([*SCORES.values(), FLOOR, FLOOR])


def test_the_axes_are_the_score_and_the_varied_knobs_when_nothing_failed(page, links):
    axes = _axes(page, links[False])
    assert axes.keys() == VARIED | {"score"}
    assert axes["score"] == pytest.approx(list(SCORES.values()))
    assert axes["optim.learning_rate"] == pytest.approx([1e-5 * (number + 1) for number in SCORES])
