"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere. Both follow the record."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from sweep.record import Record
from sweep.say import say
from sweep.trial_record import Row, Trial, best_trial

if TYPE_CHECKING:
    from rich.table import Table


class View(Protocol):
    """Something that shows the trials, and is told of them again and again."""

    def show(self, trials: list[Trial]) -> None: ...

    def skip(self, trials: list[Trial]) -> None: ...

    def close(self) -> None: ...


class Follower(threading.Thread):
    """Shows the record every second until `finish`, which shows the end state."""

    def __init__(self, record: Record, view: View, interval_s: float = 1.0) -> None:
        super().__init__(name="table", daemon=True)
        self._record, self._view, self._interval_s = record, view, interval_s
        view.skip(record.trials())
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._view.show(self._record.trials())

    def finish(self) -> None:
        """Show the record a last time and stop."""
        self._ended.set()
        self.join()
        self._view.show(self._record.trials())
        self._view.close()


Left = Callable[[], str | None]
"""What is left of the sweep's limits, in words; None without a limit."""


SECOND = {"size": "size_mb", "latency": "latency_ms"}
"""The objective's second measure → the field of a row that holds it."""


def make_view(rungs: int | None, knobs: tuple[str, ...], left: Left, stream: TextIO = sys.stderr) -> View:
    """A live table when `stream` is a terminal, else plain lines. `rungs`: how many, None when nobody knows."""
    return LiveTable(rungs, knobs, left, stream) if stream.isatty() else PlainLines(rungs, left, stream)


class PlainLines:
    """One line a row and one line a trial's end, for log files and `ray job` output."""

    def __init__(self, rungs: int | None, left: Left, stream: TextIO) -> None:
        self._rungs, self._left, self._stream = rungs, left, stream
        self._rows_shown: dict[int, int] = {}
        self._ended: set[int] = set()

    def skip(self, trials: list[Trial]) -> None:
        """What an earlier driver showed is not printed again."""
        self._rows_shown = {trial.number: len(trial.rows) for trial in trials}
        self._ended = {trial.number for trial in trials if trial.ended is not None}

    def show(self, trials: list[Trial]) -> None:
        left = ""
        for trial in trials:
            shown = self._rows_shown.get(trial.number, 0)
            for row in trial.rows[shown:]:
                self._print(
                    f"trial {trial.number:04d}  rung {rung_text(row, self._rungs)}  "
                    f"{row.sentences:>9,} sentences  score {row.score:6.2f}  busy {row.busy_seconds:.1f} s"
                )
            self._rows_shown[trial.number] = len(trial.rows)
            if trial.state not in ("running", "interrupted") and trial.number not in self._ended:
                self._ended.add(trial.number)
                left = left or f"  ({self._left()})".replace("  (None)", "")
                self._print(f"trial {trial.number:04d}  {trial.state}{left}")

    def _print(self, line: str) -> None:
        say(line, self._stream)

    def close(self) -> None:
        pass


class LiveTable:
    """The trials by score, redrawn in place."""

    def __init__(self, rungs: int | None, knobs: tuple[str, ...], left: Left, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._rungs, self._knobs, self._left = rungs, knobs, left
        self._live = Live(console=Console(file=stream), auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def skip(self, trials: list[Trial]) -> None:
        """A table shows everything."""

    def show(self, trials: list[Trial]) -> None:
        # Rich lays out every row it is given, also those below the screen: 4 s of 5,000 trials, every second.
        table = trial_table(trials, self._rungs, self._knobs, most=max(1, self._live.console.size.height - 3))
        table.caption = self._left()
        with suppress(OSError):  # the terminal is gone
            self._live.update(table, refresh=True)

    def close(self) -> None:
        with suppress(OSError):
            self._live.stop()


def by_score(trials: list[Trial]) -> list[Trial]:
    """Completed trials first, best first; then the others by rung and score."""

    def rank(trial: Trial) -> tuple[bool, int, float]:
        return (trial.state == "completed", len(trial.rows), trial.score if trial.score is not None else float("-inf"))

    return sorted(trials, key=rank, reverse=True)


def trial_table(
    trials: list[Trial],
    rungs: int | None,
    knobs: tuple[str, ...],
    *,
    against: str | None = None,
    most: int | None = None,
) -> Table:
    """The trials as a rich table, best first: number, state, rung, sentences, score and the searched knobs.

    Args:
        trials: of one sweep.
        rungs: how many there are; None when nobody knows.
        knobs: that were searched; blank where a trial was not asked one.
        against: the objective's second measure, which gets a column.
        most: so many rows, and how many are left out.
    """
    from rich.table import Table

    best = best_trial(trials)
    table = Table(box=None, header_style="bold", pad_edge=False)
    second = [SECOND[against]] if against else []
    for name in ("trial", "state", "rung", "sentences", "score", *second):
        table.add_column(name, justify="left" if name == "state" else "right")
    for name in knobs:
        table.add_column(name.rpartition(".")[2], overflow="fold")
    for trial in by_score(trials)[:most]:
        row = trial.rows[-1] if trial.rows else None
        cells = [rung_text(row, rungs), f"{row.sentences:,}", f"{row.score:.2f}"] if row else ["", "", ""]
        for name in second:
            measured = getattr(row, name, None)
            cells.append("" if measured is None else f"{measured:.3g}")
        table.add_row(
            f"{trial.number:04d}",
            trial.state,
            *cells,
            *(knob_text(trial.point[name]) if name in trial.point else "" for name in knobs),
            style="bold green" if best is not None and trial.number == best.number else None,
        )
    if most is not None and len(trials) > most:
        table.add_row("", f"… {len(trials) - most} more")
    return table


def rung_text(row: Row, rungs: int | None) -> str:
    """`2/3`; `2` where nobody knows how many there are."""
    return f"{row.rung_index + 1}" if rungs is None else f"{row.rung_index + 1}/{rungs}"


def knob_text(value: Any) -> str:
    """A knob's value, short: `0.000312`, `avg_last2`, `0,5`."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
