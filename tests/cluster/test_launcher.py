"""`ray up`, `ray submit`, `ray exec` and `ray down` with deploy/onprem.yaml, by ssh to hosts of their own."""

from __future__ import annotations

import getpass
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sweep.record import Record
from tests.cluster.hosts import BIN, HOUSE, UNHURRIED, Host, Network, why_not

TOOLS = ("/usr/sbin/sshd", "ssh", "ssh-keygen", "rsync")
missing = [tool for tool in TOOLS if shutil.which(tool) is None]
reason = why_not() or (f"no {', '.join(missing)}: make system" if missing else None)
pytestmark = [pytest.mark.skipif(reason is not None, reason=str(reason)), pytest.mark.timeout(600)]

SPEC = """
name: launched
train:
  encoder: {{name: {encoder}}}
  data: {{corpus: [{corpus}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 128}}
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
sampler: {{name: random}}
objective: {{task: demo, split: dev}}
trials: 2
"""

SOON = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
"""After `ray down`, which stops the head alone, workers look for it for 60 s."""

WHO_IS_THERE = """
import time, ray
ray.init(address="auto", log_to_driver=False)
deadline = time.monotonic() + 120
while len(there := [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]) < 3:
    assert time.monotonic() < deadline, there
    time.sleep(0.5)
print("there:", *sorted(there))
"""

KNOCK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(f"http://{sys.argv[1]}:8265/api/jobs/", timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except urllib.error.URLError as error:
    print(type(error.reason).__name__)
"""


@dataclass
class Site:
    """A laptop and three hosts that it reaches by ssh, the first of which is to be the head."""

    laptop: Host
    hosts: list[Host]
    file: Path

    def ray(self, command: str, *arguments: str, timeout: float = 200) -> str:
        """`ray COMMAND` with the cluster file, on the laptop, in the root of the repository; what it said."""
        ran = self.laptop.run(str(BIN / "ray"), command, *arguments, cwd=HOUSE, timeout=timeout)
        assert ran.returncode == 0, ran.stdout
        return ran.stdout


def filled_in(site: Network, hosts: list[Host], root: Path) -> dict:
    """The committed file with what a person fills in, but for the installation, which test_cluster_setup.py tries."""
    config = YAML(typ="safe").load((HOUSE / "deploy" / "onprem.yaml").read_text(encoding="utf-8"))
    config["cluster_name"] = site.name  # names the folder of ssh's sockets, which hosts of two sites would share
    config["provider"] |= {"head_ip": hosts[0].address, "worker_ips": [host.address for host in hosts[1:]]}
    config["auth"] = {"ssh_user": getpass.getuser(), "ssh_private_key": "~/.ssh/id_ed25519"}
    commands = [command.replace("/mnt/sweeps", str(root)) for command in config["setup_commands"]]
    config["setup_commands"] = [command for command in commands if "pip install" not in command]
    return config


@pytest.fixture(scope="module")
def site(workshop: Path, environment: dict[str, str]) -> Iterator[Site]:
    network = Network()
    try:
        keys = network.folder / "keys"
        keys.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
        sshd = network.folder / "sshd_config"
        sshd.write_text(f"HostKey {keys}/host\nPermitRootLogin prohibit-password\nStrictModes no\nPidFile none\n")
        login = ("mkdir -p /run/sshd", f"/usr/sbin/sshd -f {sshd}")
        plain = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
        hosts = []
        for name in ("head", "worker1", "worker2"):
            host = network.add(name, plain, login)
            (host.home / ".ssh").mkdir()
            shutil.copy(keys / "user.pub", host.home / ".ssh" / "authorized_keys")
            (host.home / "stsweep").mkdir()
            (host.home / "stsweep" / "venv").symlink_to(sys.prefix)
            passed_on = {name: environment[name] for name in ("STSWEEP_CACHE", "HF_HUB_OFFLINE", "PYTHONPATH")}
            exports = " ".join(f"{name}={value}" for name, value in (passed_on | UNHURRIED | SOON).items())
            (host.home / ".bashrc").write_text(f"export {exports}\n")
            hosts.append(host)
        laptop = network.add("laptop", plain | {"RAY_AUTH_MODE": "token", "TMPDIR": str(network.folder)})
        (laptop.home / ".ssh").mkdir()
        shutil.copy(keys / "user", laptop.home / ".ssh" / "id_ed25519")
        file = network.folder / "onprem.yaml"
        with file.open("w") as stream:
            YAML().dump(filled_in(network, hosts, workshop / "onprem"), stream)
        (workshop / "onprem").mkdir()
        yield Site(laptop, hosts, file)
    finally:
        network.remove()
        user, cluster = (hashlib.sha256(each.encode()).hexdigest()[:10] for each in (getpass.getuser(), network.name))
        shutil.rmtree(f"/tmp/ray_ssh_{user}/{cluster}", ignore_errors=True)


def test_a_cluster_of_given_hosts_is_launched_runs_a_sweep_and_leaves_nothing_behind(site: Site, workshop: Path):
    assert site.laptop.run(str(BIN / "ray"), "get-auth-token", "--generate").returncode == 0
    site.ray("up", "--yes", "--no-config-cache", str(site.file))

    script = workshop / "who_is_there.py"
    script.write_text(WHO_IS_THERE)
    addresses = " ".join(host.address for host in site.hosts)
    assert f"there: {addresses}" in site.ray("submit", str(site.file), str(script))

    head = site.hosts[0]
    assert head.run(sys.executable, "-c", KNOCK, "127.0.0.1").stdout.strip() == "401"
    assert site.laptop.run(sys.executable, "-c", KNOCK, head.address).stdout.strip() == "ConnectionRefusedError"

    spec = workshop / "launched.yaml"
    spec.write_text(SPEC.format(encoder=workshop / "encoder", corpus=workshop / "corpus.txt"))
    site.ray("exec", str(site.file), f"stsweep run {spec} --address auto")
    trials = Record.open(workshop / "onprem", "launched").trials()  # where the file says that sweeps are kept
    assert [trial.state for trial in trials] == ["completed"] * 2

    site.ray("down", "--yes", str(site.file))
    deadline = time.monotonic() + 90
    while left := {host.name: len(host.processes("/raylet")) for host in site.hosts if host.processes("/raylet")}:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
