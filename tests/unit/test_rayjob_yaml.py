"""`deploy/rayjob.yaml` against Kubernetes' own schema, KubeRay's names of fields, and what it promises."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from sweep.cli import app
from sweep.signals import _GRACE_S

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.34"

# The properties of the CRD of KubeRay 1.7.0, ray-operator/config/crd/bases/ray.io_rayjobs.yaml, v1 (Apache-2.0).
RAY_JOB = {
    *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint"),
    *("entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata"),
    *("preRunningDeadlineSeconds", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode"),
    *("submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished"),
}
RAY_CLUSTER = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec"),
    *("headServiceAnnotations", "historyServerOptions", "managedBy", "networkPolicy", "rayVersion", "suspend"),
    *("tlsOptions", "upgradeStrategy", "workerGroupSpecs"),
}
AUTOSCALER = {
    *("args", "command", "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources"),
    *("securityContext", "upscalingMode", "version", "volumeMounts"),
}
HEAD = {
    *("enableIngress", "headService", "ingressOptions", "labels", "rayStartParams", "resources", "serviceType"),
    "template",
}
WORKERS = {
    *("groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "priority"),
    *("rayStartParams", "replicas", "resources", "scaleStrategy", "suspend", "template"),
}


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    text = (ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in YAML(typ="safe").load_all(text)}


@pytest.fixture(scope="module")
def job(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return documents["RayJob"]["spec"]


@pytest.fixture(scope="module")
def pods(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    return {
        "head": cluster["headGroupSpec"]["template"]["spec"],
        "worker": cluster["workerGroupSpecs"][0]["template"]["spec"],
    }


def validate(spec: dict[str, Any]) -> None:
    """A pod's, by Kubernetes' published schema; unknown keys are errors."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_kubernetes_accepts_pods_and_volume(documents, pods):
    for spec in pods.values():
        validate(spec)
    kubernetes_validate.validate(documents["PersistentVolumeClaim"], KUBERNETES, strict=True)


@pytest.mark.parametrize("path", [("tolerations", 0), ("containers", 0), ("containers", 0, "lifecycle")])
def test_a_misspelt_key_of_a_pod_would_be_noticed(pods, path):
    spec = copy.deepcopy(pods["worker"])
    at = spec
    for step in path:
        at = at[step]
    at["efect"] = at.pop(next(iter(at)))
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(spec)


def test_kuberay_knows_every_field(documents, job):
    cluster = job["rayClusterSpec"]
    assert documents["RayJob"]["apiVersion"] == "ray.io/v1"
    assert documents["RayJob"].keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert job.keys() <= RAY_JOB
    assert cluster.keys() <= RAY_CLUSTER
    assert cluster["authOptions"].keys() <= {"mode", "secretName", "enableK8sTokenAuth"}
    assert cluster["autoscalerOptions"].keys() <= AUTOSCALER
    assert cluster["headGroupSpec"].keys() <= HEAD
    assert all(group.keys() <= WORKERS for group in cluster["workerGroupSpecs"])
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())


def test_the_head_demands_a_token_of_the_ray_that_the_image_holds(job):
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}" in constraints


def test_a_failed_job_is_begun_again_by_the_command_that_goes_on_and_a_finished_one_is_cleared_away(job):
    words = shlex.split(job["entrypoint"])
    assert words[:4] == ["python", "-m", "sweep", "run"]
    assert {"--or-resume", "--root", "--name"} <= set(words)
    assert words[words.index("--root") + 1] == "/sweeps"
    assert job["backoffLimit"] >= 1
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] > 0


def test_the_command_line_knows_the_entry_points_options(job):
    known = {name for parameter in get_command(app).commands["run"].params for name in parameter.opts}
    assert {word for word in shlex.split(job["entrypoint"]) if word.startswith("--")} <= known


def test_the_head_takes_no_trial_and_workers_come_and_go_up_to_eight(job, pods):
    cluster = job["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"] is True
    assert 0 < cluster["autoscalerOptions"]["idleTimeoutSeconds"] <= 600
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (0, 0, 8)
    assert "nvidia.com/gpu" not in str(pods["head"]["containers"])
    for spec in pods.values():
        resources = spec["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
    assert pods["worker"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_stopped_pod_has_the_time_that_the_driver_takes_to_save_its_trials(job, pods):
    head, worker = (pods[name]["containers"][0] for name in ("head", "worker"))
    given = int(next(each["value"] for each in head["env"] if each["name"] == "RAY_JOB_STOP_WAIT_TIME_S"))
    assert given >= _GRACE_S
    command = head["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["ray", "job", "stop", "--address", "http://127.0.0.1:8265", job["jobId"]]
    assert int(worker["lifecycle"]["preStop"]["exec"]["command"][1]) >= given, "the trials outlive their driver's call"
    ray_s = 15  # what Ray's own processes then take to end
    assert all(spec["terminationGracePeriodSeconds"] >= given + ray_s for spec in pods.values())


def test_every_pod_sees_the_sweeps_and_has_a_cache_and_room_for_rays_objects(documents, pods):
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for spec in pods.values():
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts["/sweeps"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        cache = next(each["value"] for each in spec["containers"][0]["env"] if each["name"] == "STSWEEP_CACHE")
        assert "emptyDir" in mounts[cache]


def test_the_image_is_built_as_the_cluster_launcher_installs(pods):
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    cluster = YAML(typ="safe").load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    assert copied == {local for local in cluster["file_mounts"].values() if not local.startswith("~")}
    (install,) = (line for line in lines if "pip install" in line)
    (there,) = (line for line in cluster["setup_commands"] if "pip install" in line)
    assert install.rpartition(" -c ")[2] == there.rpartition(" -c ")[2]
    assert {spec["securityContext"]["runAsUser"] for spec in pods.values()} == {1000}
    assert any(line.startswith("RUN useradd --uid 1000") for line in lines)
