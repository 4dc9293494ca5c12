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

MODE_VARIABLE, TOKEN_VARIABLE, FILE_VARIABLE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DASHBOARD_PORT = 8265
"""Ray's default."""

_PORTS = {"http": 80, "https": 443}
_SCHEMES = ("", "http", "https", "ray")


class BadAddressError(Exception):
    """The text is no address; the message says why, and what is one."""


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
        BadAddressError: it is none, or holds a name and a password, which would be kept with the command.
    """
    forms = "give HOST:PORT, http://HOST:PORT or https://HOST"
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError as error:
        raise BadAddressError(f"{error}; {forms}") from None
    if parts.scheme not in _SCHEMES:
        raise BadAddressError(f"no scheme {parts.scheme!r}; {forms}")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadAddressError(f"a password or token is never a part of an address, for commands are kept; {forms}")
    if not parts.hostname:
        raise BadAddressError(f"it has no host; {forms}")
    port = port or _PORTS.get(parts.scheme)
    if port is None:
        raise BadAddressError(f"it has no port; {forms}")
    return Address(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


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


def token_fault(address: Address) -> str | None:
    """Why nothing is sent to an address: it is not this machine's own, and there is no token for it. None: it may be.

    Raises:
        OSError: the host's name resolves to nothing.
    """
    if address.is_loopback or auth_token() is not None:
        return None
    return (
        f"{address.url} is not on this machine, so token authentication is required and is not set: "
        f"{how_to_get_a_token()}; its head needs {MODE_VARIABLE}=token too"
    )
