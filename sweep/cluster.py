"""What answers at the address of a Ray cluster, before Ray is asked; whether this process is a job of one.

Ray itself tries a wrong token for 20 s and a wrong port for 120 s, and then says that it timed out. A Ray head has
three ports: the control store (gRPC, 6379 unless told otherwise), the dashboard (HTTP, 8265) and Ray Client (gRPC,
10001). Nothing is sent with a token before the port has shown what it speaks.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Literal

from sweep.address import (
    DASHBOARD_PORT,
    MODE_VARIABLE,
    Address,
    auth_token,
    how_to_get_a_token,
    parse_address,
    token_problem,
)
from sweep.errors import Problem

if TYPE_CHECKING:
    from requests import Response

_TIMEOUT_S = 3.0

Speech = Literal["http", "https", "grpc", "other"]


def cluster_problem(address: str | None) -> Problem | None:
    """The mistake of a cluster that cannot be driven from here, or None.

    Args:
        address: `HOST:PORT` of the head's control store, as `cluster_address` has it; None is this machine.

    Raises:
        Refused: it is no address.
    """
    if address is None:
        return None
    given = parse_address(address)
    try:
        return token_problem(given) or _why_not_driven(given, _speech(given))
    except OSError as error:
        return _problem(
            f"no Ray cluster answers at {given.url}: {_said(error)}",
            "give HOST:PORT of its head (there: ray status), or leave --address and RAY_ADDRESS out to run on this "
            "machine",
        )


def jobs_problem(address: str) -> Problem | None:
    """The mistake of an address to which no job can be submitted, or None.

    Args:
        address: `http://HOST:PORT` or `https://HOST` of the head's dashboard.

    Raises:
        Refused: it is no address.
    """
    given = parse_address(address)
    try:
        return token_problem(given) or _why_no_jobs(given, _speech(given))
    except OSError as error:
        return _problem(
            f"no Ray cluster answers at {given.url}: {_said(error)}", f"give http://HOST:{DASHBOARD_PORT} of its head"
        )


def clear_text_note(address: str) -> str | None:
    """What to know of a token that leaves this machine unencrypted; None where it does not."""
    given = parse_address(address)
    if given.scheme != "http" or given.is_loopback:
        return None
    tunnel = f"ssh -L {DASHBOARD_PORT}:localhost:{given.port} {given.host}"
    return (
        f"{given.url} is plain HTTP, so the token can be read on the way; encrypted: {tunnel}, "
        f"then --address http://localhost:{DASHBOARD_PORT}, or an https:// address"
    )


def job_has_working_dir() -> bool:
    """Whether `ray job submit --working-dir` gave one; Ray refuses a second."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return "working_dir" in (job.get("runtime_env") or {})


def _problem(message: str, remedy: str) -> Problem:
    return Problem(message, key="--address", remedy=remedy)


def _said(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


def _speech(address: Address) -> Speech:
    """What a port speaks: it is sent a line of plain HTTP, then asked for TLS.

    Raises:
        OSError: the host cannot be resolved or reached, or nothing listens.
    """
    with socket.create_connection((address.host, address.port), timeout=_TIMEOUT_S) as connection:
        try:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {address.host}\r\nConnection: close\r\n\r\n".encode())
            answer = connection.recv(1024)
        except OSError:  # listens, and says nothing or hangs up
            answer = b""
    if answer.startswith(b"HTTP/"):
        # nginx and Go's servers say so in plain HTTP, in the body of a 400.
        return "https" if b" 400 " in answer[:16] and b"HTTPS" in answer else "http"
    if len(answer) >= 9 and answer[3] == 4:  # the frame that begins HTTP/2: SETTINGS (RFC 9113, 3.4)
        return "grpc"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=address.host),
        ):
            return "https"
    except OSError:
        return "other"


def _why_not_driven(address: Address, speech: Speech) -> Problem | None:
    """Why a sweep cannot be driven over an address that may be asked."""
    store = "give HOST:PORT of its head's control store, port 6379 unless told otherwise"
    if address.scheme in ("http", "https") or speech in ("http", "https"):
        url = address.url if address.scheme in ("http", "https") else address.with_scheme(speech)
        what = "a web server answers" if speech in ("http", "https") else "that is the form of a dashboard's address"
        return _problem(
            f"{address.url}: {what}, as Ray's dashboard does", f"{store}, or: stsweep submit SPEC --address {url}"
        )
    if address.scheme == "ray":  # it would pickle the searcher, which writes the record, and call the copy
        jobs = f"stsweep submit SPEC --address http://{address.host}:{DASHBOARD_PORT}"
        return _problem(f"{address.url}: Ray Client cannot drive a sweep", f"{store}, or: {jobs}")
    if os.environ.get("RAY_USE_TLS", "0") == "1":  # its certificates are Ray's own to check
        return None
    if speech == "other":
        return _problem(f"{address.url}: something answers that is no Ray cluster", store)
    return _why_store_refuses(address, store)


def _why_store_refuses(address: Address, store: str) -> Problem | None:
    """Ask a control store for its versions, as `ray.init` does (`get_cluster_metadata` in ray/_common/usage)."""
    import grpc
    from ray.core.generated.gcs_service_pb2 import InternalKVGetRequest  # type: ignore[attr-defined]
    from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub

    def ask(token: str | None) -> dict[str, str]:
        host = f"[{address.host}]" if ":" in address.host else address.host
        with grpc.insecure_channel(f"{host}:{address.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            stub: Any = InternalKVGcsServiceStub(channel)  # type: ignore[no-untyped-call]
            answer = stub.InternalKVGet(
                InternalKVGetRequest(namespace=b"cluster", key=b"CLUSTER_METADATA"),
                timeout=_TIMEOUT_S,
                metadata=[("authorization", f"Bearer {token}")] if token else None,
            )
        return dict(json.loads(answer.value or b"{}"))

    token = auth_token()
    try:
        if not address.is_loopback and _is_open(lambda: ask(None), grpc.RpcError):
            return _open_to_all(address)
        versions = ask(token)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            return _why_unauthorised(address, 403 if token else 401)
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return _problem(f"{address.url}: Ray Client answers, or another gRPC server", store)
        return _problem(f"no Ray cluster answers at {address.url}: {error.details()}", "ray status, on the head")
    return _why_versions(address, versions.get("ray_version"), versions.get("python_version"), is_job=False)


def _is_open(ask: Any, refusal: type[Exception]) -> bool:
    try:
        ask()
    except refusal:
        return False
    return True


def _why_no_jobs(address: Address, speech: Speech) -> Problem | None:
    """Why no job can be submitted to an address that may be asked."""
    dashboard = f"give its head's dashboard, http://{address.host}:{DASHBOARD_PORT} unless told otherwise"
    if speech == "grpc":
        return _problem(f"{address.url}: Ray's control store or Ray Client answers, and they take no jobs", dashboard)
    if speech == "other":
        return _problem(f"{address.url}: something answers that is no web server", dashboard)
    if address.scheme != speech:
        said = {"http": "a server of plain HTTP", "https": "a server of HTTPS"}[speech]
        return _problem(f"{address.url}: {said} answers", f"give {address.with_scheme(speech)}{address.path}")
    import requests

    try:
        if not address.is_loopback and _get(address, "/api/version", None).status_code == 200:
            return _open_to_all(address)
        answer = _get(address, "/api/version", auth_token())
        if answer.status_code in (401, 403):
            return _why_unauthorised(address, answer.status_code)
        ray = dict(answer.json())["ray_version"] if answer.status_code == 200 else None
    except requests.exceptions.SSLError as error:
        return _problem(
            f"{address.url}: its certificate is not trusted ({error})", "REQUESTS_CA_BUNDLE=FILE names the authority"
        )
    except (requests.exceptions.RequestException, ValueError, KeyError):
        ray = None
    if ray is None:
        return _problem(f"{address.url}: a web server answers that is not Ray's dashboard", dashboard)
    about = _get(address, "/api/v0/cluster_metadata", auth_token())
    python = about.json().get("data", {}).get("pythonVersion") if about.status_code == 200 else None
    return _why_versions(address, ray, python, is_job=True)


def _get(address: Address, path: str, token: str | None) -> Response:
    import requests

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(address.url + path, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False)


def _why_unauthorised(address: Address, code: int) -> Problem:
    if code == 401:
        return _problem(f"{address.url} wants a token and was sent none (401)", how_to_get_a_token())
    return _problem(
        f"{address.url} refuses the token (403): it is not this cluster's", "on the head: ray get-auth-token"
    )


def _open_to_all(address: Address) -> Problem:
    return _problem(
        f"{address.url} answers without a token, so whoever reaches it may run code there",
        f"start its head again with {MODE_VARIABLE}=token (ray get-auth-token --generate)",
    )


def _why_versions(address: Address, ray: str | None, python: str | None, *, is_job: bool) -> Problem | None:
    """Why programs of two versions cannot work together.

    A driver here shares pickles with the cluster and is held to Ray's own rule (`check_version_info` of
    ray/_private/utils.py: Python to the last number). A job's driver runs there: Python 3.11 is 3.11.
    """
    import platform

    from ray import __version__ as own_ray

    own = platform.python_version()
    level = "minor" if is_job else os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "patch")
    numbers = 2 if level == "minor" else 3
    same_python = python is None or python.split(".")[:numbers] == own.split(".")[:numbers]
    if ray in (None, own_ray) and same_python:
        return None
    return _problem(
        f"{address.url} runs Ray {ray} with Python {python or 'of a version that it does not say'}, and this program "
        f"Ray {own_ray} with Python {own}",
        "install the cluster's versions here, or these on the cluster",
    )
