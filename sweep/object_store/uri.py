"""What a root's URI may say. Loads no pyarrow."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from sweep.errors import Problem, Refused, nearest

SCHEMES = ("s3", "gs", "file")
_OPTIONS = {"s3": ("region", "endpoint_override", "scheme"), "gs": (), "file": ()}
"""Of pyarrow's own options in a query those that hold no secret."""
_HTTP = ("http", "https")
_EXAMPLE = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or file:///FOLDER"


def is_uri(root: str) -> bool:
    """Whether a root is a URI, or meant as one; else it is a path."""
    return "://" in root or root.lower().startswith(tuple(f"{scheme}:/" for scheme in SCHEMES))


def check_uri(given: str) -> str:
    """A root's URI in the one form in which it is compared, kept and shown.

    Raises:
        Refused: another scheme, no bucket, a key in it, an option that it may not have; all of them at once. What
            may be a secret is not repeated.
    """
    scheme, slashes, rest = given.partition("://")
    if not slashes:
        raise _refused(
            [f"{given.partition(':')[0]}: wants two slashes after it, or three and a folder; give {_EXAMPLE}"]
        )
    scheme = scheme.lower()
    problems = []
    try:
        parts = urlsplit(f"{scheme}://{rest}" if scheme in SCHEMES else f"file://{rest}")
    except ValueError as error:
        raise _refused([f"it is no URI: {error}; give {_EXAMPLE}"]) from None
    if scheme not in SCHEMES:
        problems.append(f"{scheme}:// is not among {', '.join(SCHEMES)}{nearest(scheme, SCHEMES)}; give {_EXAMPLE}")
    if "@" in parts.netloc:
        problems.append(
            "a key in a URI would be in the record and in logs; leave what is before '@' out and "
            "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if scheme == "file" and (parts.netloc or len(parts.path) < 2):
        problems.append(f"file://{rest} names no folder from / on; give file:///FOLDER")
    if scheme in ("s3", "gs") and not parts.netloc.rpartition("@")[2]:
        problems.append(f"{scheme}:// names no bucket; give {scheme}://BUCKET/PREFIX")
    path = unquote(parts.path)
    if ".." in path.split("/"):
        problems.append("'..' is no folder in a store; give the path without it")
    if not path.isprintable():
        problems.append(f"{path!r} holds what cannot be printed; give a path without it")
    allowed = _OPTIONS.get(scheme, ())
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if scheme == "s3" and name == "scheme" and value not in _HTTP:
            problems.append(f"?scheme={value} is not among {', '.join(_HTTP)}")
        if scheme == "s3" and name == "endpoint_override":
            problems += endpoint_problems(value)
        if scheme in SCHEMES and name not in allowed:
            may = f"allowed: {', '.join(allowed)}" if allowed else f"{scheme}:// has none"
            problems.append(f"?{name}= is no option here{nearest(name, allowed)}; {may}")
    if problems:
        raise _refused(problems)
    path = re.sub(r"/+", "/", parts.path).rstrip("/")
    return f"{scheme}://{parts.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


def endpoint_problems(given: str) -> list[str]:
    """What is wrong with the address of an S3 server. What may be a secret is not repeated."""
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return [f"the endpoint is no address: {error}; give http://HOST:PORT"]
    if parts.scheme not in _HTTP or not host or "@" in parts.netloc:
        return ["the endpoint is no http:// or https:// address without a key in it; give http://HOST:PORT"]
    return []


def _refused(problems: list[str]) -> Refused:
    return Refused(
        [Problem(problem, key="--root") for problem in problems], next=f"the same command with --root {_EXAMPLE}"
    )


def place_of(uri: str) -> tuple[str, str, dict[str, str]]:
    """Scheme, path as pyarrow's filesystems take it (BUCKET/PREFIX, or /FOLDER), and options of a checked URI."""
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc + unquote(parts.path), dict(parse_qsl(parts.query))


def slug(uri: str) -> str:
    """A folder's name for a URI: legible, and no other's."""
    legible = re.sub(r"[^A-Za-z0-9._-]+", "-", uri)[:60]
    return f"{legible}-{hashlib.sha256(uri.encode()).hexdigest()[:10]}"
