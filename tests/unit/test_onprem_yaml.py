"""`deploy/onprem.yaml` against Ray's own validation, and what it promises."""

from __future__ import annotations

import copy
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from sweep.signals import _GRACE_S
from tests.unit.test_cluster_yaml import prepared

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def onprem() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "deploy" / "onprem.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def starts(onprem: dict[str, Any]) -> list[str]:
    return [
        next(line for line in onprem[f"{kind}_start_ray_commands"] if "ray start" in line)
        for kind in ("head", "worker")
    ]


def test_ray_accepts_the_file_and_keeps_every_host(onprem):
    config = prepared(onprem)
    (node,) = config["available_node_types"].values()
    assert node["min_workers"] == node["max_workers"] == len(onprem["provider"]["worker_ips"])


@pytest.mark.parametrize(("place", "right", "wrong"), [((), "auth", "auht"), (("auth",), "ssh_user", "ssh_usr")])
def test_rays_validation_would_notice_a_misspelt_key(onprem, place, right, wrong):
    misspelt = copy.deepcopy(onprem)
    at = misspelt
    for step in place:
        at = at[step]
    at[wrong] = at.pop(right)
    with pytest.raises(jsonschema.ValidationError, match=wrong):
        prepared(misspelt)


@pytest.mark.parametrize("key", ["head_ip", "worker_ips"])
def test_ray_would_notice_a_missing_address(onprem, key):
    misspelt = copy.deepcopy(onprem)
    misspelt["provider"][f"{key}s"] = misspelt["provider"].pop(key)
    with pytest.raises(Exception, match="`head_ip` and list of `worker_ips`"):
        prepared(misspelt)


def test_every_start_demands_a_token_and_names_its_own_address(starts):
    for line in starts:
        before, after = line.split("ray start", 1)
        assert "RAY_AUTH_MODE=token" in before
        assert "--node-ip-address=$(echo $SSH_CONNECTION | cut -d' ' -f3)" in after
    assert "RAY_enable_autoscaler_v2=0" in starts[0].split("ray start")[0]
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_every_host_has_the_token_and_nobody_else_reads_it(onprem):
    assert onprem["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in onprem["setup_commands"]


def test_a_stopped_job_has_the_time_that_its_driver_takes_to_save_its_trials(starts):
    given = re.search(r"RAY_JOB_STOP_WAIT_TIME_S=(\d+)", starts[0].split("ray start")[0])
    assert given is not None
    assert int(given[1]) >= _GRACE_S


def test_what_is_copied_and_installed_is_what_the_aws_cluster_copies_and_installs(onprem):
    aws = YAML(typ="safe").load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    copied = {remote.replace("/home/ubuntu", "~"): local for remote, local in aws["file_mounts"].items()}
    assert onprem["file_mounts"] == copied
    ours, theirs = (
        next(line for line in config["setup_commands"] if "pip install" in line) for config in (onprem, aws)
    )
    assert ours.partition("pip install")[2] == theirs.partition("pip install")[2]


@pytest.mark.parametrize(
    ("kind", "says"), [("setup_commands", "mount the shared folder there first"), ("worker_setup_commands", "head")]
)
def test_a_host_without_the_shared_folder_fails_with_a_sentence(onprem, tmp_path, kind, says):
    (check,) = (line for line in onprem[kind] if line.startswith("test "))
    for root, code in ((tmp_path / "nowhere", 1), (tmp_path, 0)):
        (tmp_path / ".of-the-head").touch()
        environment = os.environ | {"STSWEEP_ROOT": str(root)}
        ran = subprocess.run(["bash", "-c", check], env=environment, capture_output=True, text=True)
        assert ran.returncode == code
        assert (ran.stdout == "") == (code == 0)
    ran = subprocess.run(
        ["bash", "-c", check], env=os.environ | {"STSWEEP_ROOT": "/nowhere"}, capture_output=True, text=True
    )
    assert ran.stdout.startswith(f"{socket.gethostname()}: ")
    assert "/nowhere" in ran.stdout
    assert says in ran.stdout


def test_the_folder_of_sweeps_is_named_once(onprem):
    text = (ROOT / "deploy" / "onprem.yaml").read_text(encoding="utf-8")
    assert text.count("/mnt/sweeps") == 1
