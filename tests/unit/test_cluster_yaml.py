"""`cluster.yaml` against Ray's own validation, without a cloud, and what it promises."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def prepared(cluster: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(copy.deepcopy(cluster))
    validate_config(config)
    return config


def test_ray_accepts_the_file(cluster: dict[str, Any]) -> None:
    assert prepared(cluster)["cluster_name"] == "stsweep"


def test_rays_validation_would_notice_a_misspelt_key(cluster: dict[str, Any]) -> None:
    import jsonschema

    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        prepared(
            cluster | {"available_node_types": {"head": cluster["available_node_types"]["head"] | {"min_worker": 1}}}
        )


def test_from_no_gpu_worker_to_eight_on_spot_and_none_is_left_idle(cluster: dict[str, Any]) -> None:
    config = prepared(cluster)
    worker = config["available_node_types"]["gpu_worker"]
    assert (worker["min_workers"], worker["max_workers"], config["max_workers"]) == (0, 8, 8)
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 0 < config["idle_timeout_minutes"] <= 10


def test_the_head_is_no_spot_instance_and_takes_no_trial(cluster: dict[str, Any]) -> None:
    head = prepared(cluster)["available_node_types"]["head"]
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["resources"]["CPU"] == 0
    assert head["max_workers"] == 0


def test_every_start_of_ray_demands_a_token_and_every_node_has_it(cluster: dict[str, Any]) -> None:
    config = prepared(cluster)
    starts = [
        line
        for part in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in config[part]
        if "ray start" in line
    ]
    assert len(starts) == 2
    assert all(line.index("RAY_AUTH_MODE=token") < line.index("ray start") for line in starts)
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_dashboard_is_not_open_to_the_network(cluster: dict[str, Any]) -> None:
    assert "0.0.0.0" not in str(prepared(cluster))


def test_what_validation_does_not_look_at_is_there(cluster: dict[str, Any]) -> None:
    config = prepared(cluster)
    assert all(
        zone.startswith(config["provider"]["region"]) for zone in config["provider"]["availability_zone"].split(",")
    )
    for node in config["available_node_types"].values():
        assert {"InstanceType", "ImageId", "BlockDeviceMappings"} <= node["node_config"].keys()


def test_what_a_build_needs_is_copied_and_installed_from_the_constraints(
    cluster: dict[str, Any],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    copied = {local for local in cluster["file_mounts"].values() if not local.startswith("~")}
    assert copied == needed | set(packages)
    install = next(line for line in cluster["setup_commands"] if "pip install" in line)
    assert "-c constraints.txt" in install


def test_ray_is_on_the_path_of_a_login_shell(cluster: dict[str, Any]) -> None:
    profile = next(line for line in cluster["setup_commands"] if "/etc/profile.d/" in line)
    assert "/home/ubuntu/venv/bin:$PATH" in profile
