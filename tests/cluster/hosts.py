"""Several hosts on one machine: network namespaces with addresses of their own, which can lose power or their cable.

A host has its own network, processes, Ray folder and home; every other folder is the machine's, so that they share a
disk as hosts share an NFS folder. `ray stop` in one sees, and ends, the processes of that one alone.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RAY_FOLDER = "/tmp/ray"
"""Ray's own default, which `ray up` gives no way to change; each host has one of its own there."""
UNHURRIED = {"RAY_worker_niceness": "0"}
"""Ray's workers give way to every other process, 15 by default; on a busy machine a test would wait for ever."""
BIN = Path(sys.executable).parent
HOUSE = Path(__file__).parents[2]
HOME = Path.home()
ROUTER = "10.77.0.254"


def why_not() -> str | None:
    """Why this machine can make no hosts; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]:
        return f"no {', '.join(missing)}: make system"
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount", "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


class Network:
    """A switch to plug hosts into; in a namespace of its own, so that the machine's network stays as it is."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="net", dir="/tmp"))
        self.name = f"stsweep{os.getpid()}"
        self.hosts: list[Host] = []
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "add", "switch", "type", "bridge")
        _ip("-n", self.name, "address", "add", f"{ROUTER}/24", "dev", "switch")
        _ip("-n", self.name, "link", "set", "switch", "up")

    def add(self, name: str, environment: dict[str, str], setup: Sequence[str] = ()) -> Host:
        """A new host, switched on; it has the next free address."""
        host = Host(self, name, f"10.77.0.{len(self.hosts) + 1}", environment, setup)
        self.hosts.append(host)
        host.switch_on()
        return host

    def remove(self) -> None:
        for host in self.hosts:
            host.switch_off()
            _ip("netns", "delete", host.namespace)
        _ip("netns", "delete", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


class Host:
    """One of a network's hosts.

    Attributes:
        address: its own.
        home: its user's, as the machine sees it.
    """

    def __init__(
        self, network: Network, name: str, address: str, environment: dict[str, str], setup: Sequence[str]
    ) -> None:
        self.name, self.address, self.namespace = name, address, f"{network.name}-{name}"
        self.environment = environment
        self.home, self._ray = network.folder / name / "home", network.folder / name / "ray"
        self._switch, self._port, self._setup = network.name, f"to-{name}", setup
        self._power: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        self._ray.mkdir()
        Path(RAY_FOLDER).mkdir(exist_ok=True)
        _ip("netns", "add", self.namespace)
        ends = ("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _ip("-n", self._switch, *ends)
        _ip("-n", self._switch, "link", "set", self._port, "master", "switch", "up")
        _ip("-n", self.namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.namespace, "link", "set", device, "up")
        _ip("-n", self.namespace, "route", "add", "default", "via", ROUTER)

    def switch_on(self) -> None:
        """Start it, with its cable in and nothing running but what `setup` starts."""
        begin = [
            _bind(self._ray, RAY_FOLDER),
            *(_bind(folder, self.home / folder.relative_to(HOME)) for folder in _kept()),
            _bind(self.home, HOME),
            *self._setup,
            f"touch {RAY_FOLDER}/on",
            "sleep infinity & while :; do wait -n; done",  # the first process of a host buries its orphans
        ]
        apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
        (self._ray / "on").unlink(missing_ok=True)
        self._power = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *apart, "bash", "-ec", "\n".join(begin)],
            cwd="/",
            env=self.environment | {"HOME": str(HOME)},
        )
        deadline = time.monotonic() + 20
        while not (self._ray / "on").exists():
            assert self._power.poll() is None and time.monotonic() < deadline, f"{self.name} does not start"
            time.sleep(0.02)
        self.plug()

    def switch_off(self) -> None:
        """A power cut: all its processes are gone at once."""
        if self._power is not None:
            self._power.kill()
            self._power.wait()
            self._power = None

    def vanish(self) -> None:
        """A power cut as the others see it: no connection is closed, nothing answers."""
        self.unplug()
        self.switch_off()

    def unplug(self) -> None:
        """Cut its network; its processes run on."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def plug(self) -> None:
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def popen(self, *command: str, cwd: Path | str = "/", log: Path | None = None) -> subprocess.Popen[str]:
        """Start a command on it; its output goes to `log` or is piped."""
        enter = ["nsenter", "--target", str(self._first()), "--net", "--pid", "--mount", "env", "-C", str(cwd)]
        out = subprocess.PIPE if log is None else log.open("a")
        return subprocess.Popen(
            [*enter, *command], env=self.environment | {"HOME": str(HOME)}, text=True,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *command: str, cwd: Path | str = "/", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command on it until its end; what it wrote, errors among it, is `stdout`."""
        process = self.popen(*command, cwd=cwd)
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{shlex.join(command)} took {timeout} s: {process.communicate()[0]}") from None
        return subprocess.CompletedProcess(command, process.returncode, out)

    def start_ray(self, *arguments: str) -> None:
        """`ray start`, one CPU, no GPU."""
        asked = ("--num-cpus=1", f"--object-store-memory={100 * 2**20}", "--disable-usage-stats")
        ran = self.run(str(BIN / "ray"), "start", f"--node-ip-address={self.address}", *asked, *arguments)
        assert ran.returncode == 0, ran.stdout

    def processes(self, named: str = "") -> list[int]:
        """Pids, as the machine sees them, of its processes with `named` in their command line."""
        if self._power is None:
            return []
        space = _namespace(self._first())
        return [pid for pid in _pids() if _namespace(pid) == space and named in command_line(pid)]

    def _first(self) -> int:
        """The pid of its first process."""
        assert self._power is not None, f"{self.name} is off"
        children = Path(f"/proc/{self._power.pid}/task/{self._power.pid}/children")
        return int(children.read_text().split()[0])


class Cluster:
    """A head and workers, one CPU each, that trust one another by a token."""

    def __init__(self, environment: dict[str, str], workers: int, **variables: str) -> None:
        """Switch it on.

        Args:
            environment: of every process.
            workers: how many.
            variables: more of them.
        """
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.network = Network()
        self._environment = environment | UNHURRIED | token | {"PATH": f"{BIN}:{os.environ['PATH']}"} | variables
        try:
            self.head = self.network.add("head", self._environment)
            self.head.start_ray("--head", "--port=6379", "--dashboard-host=127.0.0.1")
            self.workers = [self.network.add(f"worker{number}", self._environment) for number in range(workers)]
            with ThreadPoolExecutor() as at_once:
                list(at_once.map(self.join, self.workers))
        except BaseException:
            self.network.remove()
            raise

    @property
    def address(self) -> str:
        return f"{self.head.address}:6379"

    def join(self, worker: Host) -> None:
        """Start Ray on a worker that is on."""
        worker.start_ray(f"--address={self.address}")

    def bring_back(self, worker: Host) -> None:
        """Switch a worker on again that vanished."""
        worker.switch_on()
        self.join(worker)


def command_line(pid: int) -> str:
    """With spaces; empty when there is no such process any more, or it is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def folder_of(pid: int) -> str:
    """The working directory of a process; empty when it is gone."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _kept() -> list[Path]:
    """Of the home that a host's own lies over: what Python runs from."""
    needed = {HOUSE, *(Path(folder).resolve() for folder in (sys.base_prefix, sys.prefix))}
    return [folder for folder in needed if folder.is_relative_to(HOME)]


def _bind(what: Path, where: Path | str) -> str:
    return f"mkdir -p {shlex.quote(str(where))} && mount --rbind {shlex.quote(str(what))} {shlex.quote(str(where))}"


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {shlex.join(arguments)}: {done.stderr}"
