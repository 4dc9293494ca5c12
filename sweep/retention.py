"""Which encoders are kept on disk: those of the best trials; the others keep their rows."""

from __future__ import annotations

from sweep.record import Record
from sweep.trial_record import Trial, pareto_front


class KeptEncoders:
    """Keeps the encoders of a sweep's best completed trials, and of a Pareto front all, from trial to trial.

    Args:
        record: the sweep.
        most: how many are kept.
    """

    def __init__(self, record: Record, most: int) -> None:
        self._record, self._most = record, most
        self._kept: list[Trial] = []
        for trial in record.trials():
            self.add(trial)

    def add(self, trial: Trial) -> None:
        """Take in a trial that ended; the encoder that is now one too many goes."""
        if trial.state != "completed":
            if trial.ended is not None:
                self._record.drop_encoder(trial.number)
            return
        self._kept.append(trial)
        self._kept.sort(key=lambda each: (-each.rows[-1].score, each.number))
        front = {each.number for each in pareto_front(self._kept)}
        for place in range(len(self._kept) - 1, self._most - 1, -1):
            if self._kept[place].number not in front:
                self._record.drop_encoder(self._kept.pop(place).number)
