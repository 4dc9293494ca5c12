"""What a simulated sweep did: its trials, what they cost, and how the best score grew with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.placement import Place
from sweep.trial_record import TrialState


@dataclass(frozen=True, slots=True)
class SimulatedTrial:
    """One trial.

    Attributes:
        number: The searcher's.
        knobs: Its configuration.
        scores: × 100, as reported; the last one is the floor where it failed.
        sentences: Trained on, also those that ended in a failure.
        state: As in a record; `interrupted` where the sweep closed around it.
        start: Seconds from the start of the sweep.
        end: The same.
        places: Where its workers lay; none where there are slots alone.
    """

    number: int
    knobs: Mapping[str, Any]
    scores: tuple[float, ...]
    sentences: int
    state: TrialState
    start: float
    end: float
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A whole sweep.

    Attributes:
        trials: By number.
        slots: Trials at once.
        sentences: Trained on by all trials, counted at their reports.
        history: Each time a trial reached the top rung with a better score: the sentences of all trials until then,
            and that score.
    """

    trials: tuple[SimulatedTrial, ...]
    slots: int
    sentences: int
    history: tuple[tuple[int, float], ...]

    @property
    def best(self) -> float | None:
        """The best score at the top rung; None when no trial came there."""
        return self.history[-1][1] if self.history else None

    @property
    def wall_seconds(self) -> float:
        """Simulated seconds from the start to the last trial's end."""
        return max((trial.end for trial in self.trials), default=0.0)

    @property
    def busy_share(self) -> float:
        """Time of all trials ÷ (slots × `wall_seconds`); 0 without time."""
        room = self.slots * self.wall_seconds
        return sum(trial.end - trial.start for trial in self.trials) / room if room else 0.0

    def sentences_to(self, target: float) -> float:
        """Sentences that all trials had trained on when one reached the top rung with `target` or more; else inf."""
        return next((sentences for sentences, score in self.history if score >= target), math.inf)
