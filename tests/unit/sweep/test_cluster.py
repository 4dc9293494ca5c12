"""What answers at an address, told by real sockets: web servers with and without TLS, one that is silent, none."""

from __future__ import annotations

import datetime
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from sweep.address import cluster_address
from sweep.cluster import clear_text_note, cluster_problem, jobs_problem
from sweep.errors import Unreachable
from tests.unit.sweep.control_store import control_store

VERSION = {"/api/version": {"ray_version": "2.40.0"}, "/api/v0/cluster_metadata": {"data": {"pythonVersion": "3.9.1"}}}


class Web(http.server.BaseHTTPRequestHandler):
    """Answers some paths with JSON and others with 404; keeps what it was sent."""

    def __init__(self, pages: dict[str, dict], seen: list[str], *rest: object) -> None:
        self.pages, self.seen = pages, seen
        super().__init__(*rest)

    def do_GET(self) -> None:
        self.seen.append(str(self.headers))
        self.send_response(200 if self.path in self.pages else 404)
        self.end_headers()
        self.wfile.write(json.dumps(self.pages.get(self.path, {})).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    pages: dict[str, dict], seen: list[str] | None = None, context: ssl.SSLContext | None = None
) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, pages, [] if seen is None else seen))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Of a server whose certificate nobody has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "head")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    path: Path = tmp_path_factory.mktemp("tls") / "head.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_scheme_that_is_not_the_servers_is_named_with_the_one_that_is(tls):
    with serving({}) as port:
        problem = jobs_problem(f"https://127.0.0.1:{port}")
        assert problem is not None
        assert f"give http://127.0.0.1:{port}" in str(problem)
    with serving({}, context=tls) as port:
        problem = jobs_problem(f"http://127.0.0.1:{port}")
        assert problem is not None
        assert f"give https://127.0.0.1:{port}" in str(problem)


def test_a_certificate_that_nobody_signed_is_not_trusted_with_the_token(tls, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-of-the-head")
    seen: list[str] = []
    with serving(VERSION, seen, tls) as port:
        problem = jobs_problem(f"https://127.0.0.1:{port}")
    assert problem is not None
    assert "not trusted" in str(problem)
    assert seen == []


def test_a_web_server_that_is_no_dashboard_is_said_to_be_none():
    with serving({}) as port:
        problem = jobs_problem(f"http://127.0.0.1:{port}")
        assert problem is not None
        assert "not Ray's dashboard" in str(problem)
        problem = cluster_problem(f"127.0.0.1:{port}")
        assert problem is not None
        assert "a web server answers" in str(problem)
        assert "6379" in str(problem)


def test_another_ray_or_python_on_the_cluster_is_refused_with_both_named():
    import platform

    import ray

    with serving(VERSION) as port:
        problem = jobs_problem(f"http://127.0.0.1:{port}")
    assert problem is not None
    assert "Ray 2.40.0 with Python 3.9.1" in str(problem)
    assert f"Ray {ray.__version__} with Python {platform.python_version()}" in str(problem)


def test_ray_client_is_refused_for_it_cannot_drive_a_sweep():
    with serving({}) as port:
        problem = cluster_problem(f"ray://127.0.0.1:{port}")
    assert problem is not None
    assert "a web server answers" in str(problem)


@pytest.mark.parametrize("ask", [cluster_problem, partial(lambda ask, at: ask(f"http://{at}"), jobs_problem)])
def test_where_nothing_answers_is_said_within_seconds(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        begin = time.monotonic()
        for at in (f"127.0.0.1:{taken.getsockname()[1]}", "host.invalid:8265"):
            problem = ask(at)
            assert problem is not None
            assert at in str(problem)
    assert time.monotonic() - begin < 5


def test_one_that_listens_and_hangs_up_is_no_cluster():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(2):
                server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        problem = cluster_problem(f"127.0.0.1:{server.getsockname()[1]}")
    assert problem is not None
    assert "no Ray cluster" in str(problem)


def test_a_token_that_can_be_read_on_the_way_is_noted():
    assert "ssh -L" in (clear_text_note("http://10.0.0.5:8265") or "")
    assert clear_text_note("https://10.0.0.5") is None
    assert clear_text_note("http://127.0.0.1:8265") is None


def test_this_machine_alone_is_no_cluster():
    assert cluster_problem(None) is None
    assert cluster_problem(cluster_address("local")) is None, "Ray would start one that listens on every address"


class TestAuto:
    """`--address auto`: the cluster is resolved first, and asked as any other."""

    @pytest.fixture(autouse=True)
    def clean(self, tmp_path, monkeypatch):
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        self.file = tmp_path / "ray" / "ray_current_cluster"
        self.file.parent.mkdir()

    def test_it_is_the_variable_else_what_ray_has_written_down(self, monkeypatch):
        from ray._private.utils import write_ray_address

        with pytest.raises(Unreachable, match=f"{self.file}.*\nNext: the same command with --address HOST:PORT"):
            cluster_address("auto")
        write_ray_address("10.0.0.5:6379")
        assert cluster_address("auto") == "10.0.0.5:6379"
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        assert cluster_address("auto") == "10.0.0.5:6379"
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.6:6379")
        assert cluster_address("auto") == "10.0.0.6:6379"
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert cluster_address("auto") is None

    def test_one_that_is_not_loopback_needs_a_token_as_by_its_own_name(self, monkeypatch):
        self.file.write_text("10.0.0.5:6379")
        assert "token authentication is required" in str(cluster_problem(cluster_address("auto")))
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.6:6379")
        problem = cluster_problem(cluster_address("auto"))
        assert "10.0.0.6:6379 is not loopback" in str(problem)
        assert problem is not None
        assert "export RAY_AUTH_MODE=token" in (problem.remedy or "")

    @pytest.mark.parametrize(("token", "code"), [(None, "401"), ("of-another-cluster", "403"), ("right", None)])
    def test_its_token_is_asked_for_at_once(self, monkeypatch, token, code):
        if token:
            monkeypatch.setenv("RAY_AUTH_MODE", "token")
            monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        with control_store(token="right") as address:
            self.file.write_text(address)
            problem = cluster_problem(cluster_address("auto"))
        assert (problem is None) == (code is None)
        if problem is not None:
            assert f"({code})" in problem.message
            assert "ray get-auth-token" in (problem.remedy or "")

    def test_its_versions_are_named(self):
        with control_store(python_version="3.9.1") as address:
            self.file.write_text(address)
            problem = cluster_problem(cluster_address("auto"))
        assert problem is not None
        assert "Python 3.9.1" in problem.message
        assert problem.remedy == "install the cluster's versions here, or these on the cluster"
