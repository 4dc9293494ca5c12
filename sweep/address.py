"""Addresses of Ray clusters, and the token that one wants of every program that is not on its own machine.

Ray 2.60 takes `HOST:PORT` (its control store; `ray.init`), `http://` or `https://` (its dashboard, for jobs) and
`ray://` (Ray Client). An explicit address never turns token authentication on by itself (`ray.init` in
ray/_private/worker.py), so without RAY_AUTH_MODE=token whoever reaches a head runs code there. Loads no Ray.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sweep.errors import Problem, Refused, Unreachable

MODE_VARIABLE, TOKEN_VARIABLE, FILE_VARIABLE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DASHBOARD_PORT = 8265
"""Ray's default."""

_PORTS = {"http": 80, "https": 443}
_SCHEMES = ("", "http", "https", "ray")


@dataclass(frozen=True)
class Address:
    """Where a cluster is said to be. `scheme` is empty for a bare `HOST:PORT`."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """As it was given, without a slash at the end."""
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{bracketed}:{self.port}{self.path}" if self.scheme else f"{bracketed}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing but this machine can be behind it; a name counts by what it resolves to.

        Raises:
            OSError: the name resolves to nothing.
        """
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)

    def with_scheme(self, scheme: str) -> str:
        """The same place, asked in another manner."""
        return Address(scheme, self.host, self.port).url


def parse_address(text: str) -> Address:
    """An address from its text.

    Raises:
        Refused: it is none, or holds a name and a password, which would be kept with the command and are not repeated.
    """
    if any(mark in text for mark in "@?#"):
        raise _no_address("a password or token is never a part of an address, for commands are kept")
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError as error:
        raise _no_address(f"{text!r}: {error}") from None
    if parts.scheme not in _SCHEMES:
        raise _no_address(f"{text!r} has no scheme that Ray knows")
    if not parts.hostname:
        raise _no_address(f"{text!r} has no host")
    port = port or _PORTS.get(parts.scheme)
    if port is None:
        raise _no_address(f"{text!r} has no port")
    return Address(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def _no_address(why: str) -> Refused:
    return Refused(
        [Problem(why, key="--address")],
        next="the same command with --address HOST:PORT, http://HOST:PORT or https://HOST",
    )


def cluster_address(given: str | None) -> str | None:
    """The cluster that `--address` names, for everything after to check and to ask; None is this machine alone.

    Ray's words `auto` and `local` end here. Handed on, Ray would look up `auto` after all checks, so that a sweep would
    run on a cluster at which none had looked; and for `local` it starts what an address of None starts.

    Raises:
        Refused: it is no address.
        Unreachable: `auto`, and there is no cluster on this machine.
    """
    if given == "auto":
        given = os.environ.get("RAY_ADDRESS")
        given = _current_cluster() if given in (None, "", "auto") else given
    return None if given in (None, "local") else parse_address(given).url


def _current_cluster() -> str:
    """Where the cluster is that `ray start` began or joined on this machine."""
    from ray._common.utils import get_ray_address_file

    path = Path(get_ray_address_file(None))
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        raise Unreachable(
            [Problem(f"auto: RAY_ADDRESS is not set, and no Ray has left its address in {path}", key="--address")],
            next="the same command with --address HOST:PORT, or without it to run on this machine",
        ) from None


def auth_token() -> str | None:
    """The token that Ray would send (its order: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token), or None."""
    if os.environ.get(MODE_VARIABLE, "").lower() != "token":
        return None
    return _kept_token()


def _kept_token() -> str | None:
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    try:
        path = Path(os.environ.get(FILE_VARIABLE) or Path.home() / ".ray" / "auth_token")
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, RuntimeError):  # no such file, or nobody's home
        return None


def how_to_get_a_token() -> str:
    """What to type so that Ray sends a token."""
    if _kept_token() is not None:
        return f"export {MODE_VARIABLE}=token (a token is here already)"
    return (
        f"export {MODE_VARIABLE}=token {FILE_VARIABLE}=FILE, a file with the head's token "
        "(on the head: ray get-auth-token)"
    )


def token_problem(address: Address) -> Problem | None:
    """Why nothing is sent to an address: it is not loopback, and there is no token for it. None: it may be.

    Raises:
        OSError: the host's name resolves to nothing.
    """
    if address.is_loopback or auth_token() is not None:
        return None
    return Problem(
        f"{address.url} is not loopback, so token authentication is required and is not set",
        key="--address",
        remedy=f"{how_to_get_a_token()}; its head needs {MODE_VARIABLE}=token too",
    )
