"""How many trials fit at once, and with how many threads."""

from __future__ import annotations

import pytest
from ray._private.utils import _get_docker_cpus

from sweep.errors import Refused
from sweep.resources import Machine, cpus_here, slots, threads
from sweep.spec.sweep_spec import Resources


@pytest.mark.parametrize("quota", ["200000 100000", "350000 100000", "9900000 100000", "max 100000", None])
def test_a_containers_quota_counts_as_ray_counts_it(quota, tmp_path, monkeypatch):
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(f"{quota}\n")
    monkeypatch.setattr("sweep.resources._CPU_QUOTA", path)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    rays = _get_docker_cpus("/no/file", "/no/file", "/no/file", str(path))
    assert cpus_here() == (16 if rays is None else min(16, int(rays)))


@pytest.mark.parametrize(
    ("cpus", "gpus", "concurrent", "machine", "fit"),
    [
        (1, 0, None, Machine(4, 0), 4),
        (2, 0, None, Machine(5, 0), 2),
        (0.5, 0, None, Machine(2, 0), 4),
        (2, 0, None, Machine(2, 0), 1),
        (1, 0, 3, Machine(8, 0), 3),
        (1, 0, 20, Machine(8, 0), 8),
        (1, 0, None, Machine(8, 4), 8),
        (1, 1, None, Machine(8, 4), 4),
        (1, 2, None, Machine(8, 5), 2),
        (1, 0.25, None, Machine(16, 2), 8),
        (1, 0.4, None, Machine(16, 2), 4),  # two a GPU: no trial lies on two
        (1, 0.6, None, Machine(16, 4), 4),
        (4, 0.25, None, Machine(8, 2), 2),
        (1, 0.25, 5, Machine(16, 2), 5),
        # In binary 7 ÷ 0.07 is a little less than 100, and 49 × (1 ÷ 49) than 1.
        (0.07, 0, None, Machine(7, 0), 100),
        (1, 49, None, Machine(98, 98), 2),
    ],
)
def test_as_many_trials_as_fit_and_as_are_wanted(cpus, gpus, concurrent, machine, fit):
    assert slots(Resources(cpus=cpus, gpus=gpus, concurrent=concurrent), machine) == fit


@pytest.mark.parametrize(
    ("cpus", "gpus", "keys"),
    [
        (3, 0, ["resources.cpus"]),
        (2.5, 0, ["resources.cpus"]),
        (1, 0.1, ["resources.gpus"]),
        (4, 1, ["resources.cpus", "resources.gpus"]),
    ],
)
def test_a_trial_that_cannot_fit_is_refused_with_everything_that_is_short(cpus, gpus, keys):
    with pytest.raises(Refused) as refused:
        slots(Resources(cpus=cpus, gpus=gpus), Machine(cpus=2, gpus=0))
    assert [problem.key for problem in refused.value.problems] == keys
    for asked, key in ((cpus, "resources.cpus"), (gpus, "resources.gpus")):
        said = [problem.message for problem in refused.value.problems if problem.key == key]
        assert all(f"asks {asked:g} " in message for message in said)
    assert "resources." in refused.value.next


@pytest.mark.parametrize(("cpus", "expected"), [(1, 1), (4, 4), (0.25, 1), (2.5, 2)])
def test_a_trial_has_as_many_threads_as_whole_cpus_and_at_least_one(cpus, expected):
    assert threads(Resources(cpus=cpus)) == expected
