"""Deaths of a trial's workers, in Ray's own words."""

from __future__ import annotations

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, ActorUnavailableError

from sweep.deaths import deaths_of, is_preemption, note_death

KILLED = ActorDiedError(
    ActorDiedErrorContext(
        actor_id=bytes(16),
        error_message="The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
        "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file.",
    )
)
NODE = ActorDiedError(
    ActorDiedErrorContext(
        actor_id=bytes(16),
        error_message="The actor died because its node has died. Node Id: 4f\n\tthe actor's node was terminated "
        "unexpectedly: health check failed due to missing too many heartbeats",
        node_death_info=NodeDeathInfo(reason=NodeDeathInfo.Reason.UNEXPECTED_TERMINATION),
    )
)


AWAY = ActorUnavailableError("The actor is temporarily unavailable: RpcError: RPC error: Socket closed", bytes(16))


@pytest.mark.parametrize(("error", "expected"), [(KILLED, False), (NODE, True), (AWAY, True)])
def test_a_worker_that_was_killed_failed_and_one_whose_node_went_did_not(error, expected):
    assert is_preemption(str(error)) is expected


def test_both_kinds_are_counted_apart_and_what_was_said_is_kept(tmp_path):
    assert (deaths_of(tmp_path).failures, deaths_of(tmp_path).preemptions) == (0, 0)
    note_death(tmp_path, "an illegal memory access", "accelerator")
    for error in (KILLED, NODE, NODE):
        note_death(tmp_path, str(error))
    found = deaths_of(tmp_path)
    assert (found.failures, found.preemptions, found.last_is_preemption) == (1, 2, True)
    assert "illegal memory" in found.said
    assert "its node has died" in found.said
