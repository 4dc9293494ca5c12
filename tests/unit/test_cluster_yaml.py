"""`cluster.yaml` against Ray's own validation, without a cloud, and what it promises."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sweep.signals import _GRACE_S

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


@pytest.mark.parametrize(
    ("place", "right", "wrong"),
    [
        ((), "max_workers", "max_worker"),
        (("auth",), "ssh_user", "ssh_usr"),
        (("available_node_types", "head"), "node_config", "node_confg"),
        (("available_node_types", "gpu_worker"), "min_workers", "min_worker"),
    ],
)
def test_rays_validation_would_notice_a_misspelt_key(cluster, place, right, wrong) -> None:
    import jsonschema

    misspelt = copy.deepcopy(cluster)
    at = misspelt
    for step in place:
        at = at[step]
    at[wrong] = at.pop(right)
    with pytest.raises(jsonschema.ValidationError, match=wrong):
        prepared(misspelt)


@pytest.fixture(scope="module")
def mistakes_of_a_node() -> Callable[[dict[str, Any]], str]:
    """AWS' own model of what its API takes, for `node_config`, into which Ray does not look."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    model = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
    shape = model.operation_model("RunInstances").input_shape

    def mistakes(node_config: dict[str, Any]) -> str:
        return ParamValidator().validate(node_config | {"MinCount": 1, "MaxCount": 1}, shape).generate_report()

    return mistakes


def test_aws_knows_every_key_of_a_node(cluster, mistakes_of_a_node) -> None:
    for node in cluster["available_node_types"].values():
        assert mistakes_of_a_node(node["node_config"]) == ""
    node = copy.deepcopy(cluster["available_node_types"]["gpu_worker"]["node_config"])
    node["InstanceMarketOption"] = node.pop("InstanceMarketOptions")
    node["BlockDeviceMappings"][0]["Ebs"]["VolumeSiz"] = 1
    found = mistakes_of_a_node(node)
    assert "InstanceMarketOption" in found
    assert "VolumeSiz" in found


def test_the_provider_has_the_keys_that_ray_reads_and_no_other(cluster) -> None:
    """Ray's schema lets any other key through, so a misspelt one would do nothing."""
    from ray.autoscaler import __file__ as autoscaler

    schema = json.loads((Path(autoscaler).parent / "ray-schema.json").read_text(encoding="utf-8"))
    assert cluster["provider"].keys() <= schema["properties"]["provider"]["properties"].keys()


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


def test_a_stopped_job_has_the_time_that_its_driver_takes_to_save_its_trials(cluster: dict[str, Any]) -> None:
    start = next(line for line in cluster["head_start_ray_commands"] if "ray start" in line)
    given = re.search(r"RAY_JOB_STOP_WAIT_TIME_S=(\d+)", start[: start.index("ray start")])
    assert given is not None
    assert int(given[1]) >= _GRACE_S


def test_the_dashboard_is_not_open_to_the_network_and_the_first_autoscaler_runs(cluster: dict[str, Any]) -> None:
    start = next(line for line in cluster["head_start_ray_commands"] if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in start
    assert "RAY_enable_autoscaler_v2=0" in start[: start.index("ray start")]


@pytest.mark.parametrize(("refusals", "code"), [(2, 0), (999, 1)])
def test_packages_wait_for_whoever_updates_a_fresh_instance(cluster, tmp_path, refusals, code) -> None:
    """Ubuntu's own updates hold apt's locks; `DPkg::Lock::Timeout` is not for that of `update`."""
    (tmp_path / "left").write_text(f"{refusals}\n")
    script = """#!/bin/sh
    case "$*" in
      *update*) left=$(cat left); [ "$left" = 0 ] && touch updated || { echo $((left - 1)) > left; exit 100; } ;;
      *DPkg::Lock::Timeout=*install*) test -e updated ;;
      *) exit 100 ;;
    esac"""
    for name, text in (("apt-get", script), ("sudo", '#!/bin/sh\nexec "$@"'), ("sleep", "#!/bin/sh")):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    lines = [*cluster["setup_commands"], *cluster["head_setup_commands"]]
    for command in (line for line in lines if "apt-get" in line):
        ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True)
        assert ran.returncode == code


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
    assert "STSWEEP_ROOT=/home/ubuntu/sweeps" in profile, "the folder that the head shares"
