"""The nodes of a simulated cluster: where each trial's workers lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep.placement import Place, Placement
from sweep.resources import Cluster, ask_of, check_possible, has_room

if TYPE_CHECKING:
    from sweep.spec.sections import Resources


class SimulatedNodes:
    """Places trials as their spec's resources ask, and says whether another may be proposed, as the driver does.

    Args:
        cluster: its nodes; it does not grow.
        asked: the spec's.

    Raises:
        Refused: some trial can never be placed.
    """

    def __init__(self, cluster: Cluster, asked: Resources) -> None:
        check_possible(asked, cluster)
        self._cluster, self._asked = cluster, asked
        self._placement = Placement(cluster.nodes)

    def place(self, knobs: Mapping[str, Any]) -> tuple[Place, ...] | None:
        """Where the workers of a trial come to lie; None while there is no room for all of them."""
        return self._placement.place(ask_of(self._asked, knobs))

    def free(self, places: Sequence[Place]) -> None:
        """A trial has ended."""
        self._placement.free(places)

    def has_room(self, open_trials: Sequence[Mapping[str, Any]]) -> bool:
        """Whether one more may be proposed beside those of these configurations."""
        return has_room(self._asked, [ask_of(self._asked, knobs) for knobs in open_trials], self._cluster, grows=False)
