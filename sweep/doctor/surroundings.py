"""What a driver needs besides its machine: Ray's token, the tracking server, the Hub and its cache, the root."""

from __future__ import annotations

import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path

from model.source import hub_answers
from sweep.doctor.facts import existing
from sweep.doctor.judge import Line
from sweep.errors import Refused
from sweep.object_store.root import root_folder, uri_of
from sweep.passwords import without_passwords
from sweep.root import check_root, sweep_names
from sweep.spec.yaml_file import read_yaml

NETWORK_S = 3.0
_HERE = "here"


def token_line() -> Line:
    """How Ray is to authenticate, and whether there is a token; never the token.

    A local sweep makes a token by itself (ray/_private/authentication); a cluster's must be brought.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode == "disabled":
        return Line("warn", "token", _HERE, "RAY_AUTH_MODE=disabled: none is asked for", "unset RAY_AUTH_MODE")
    said = "RAY_AUTH_MODE=token" if mode == "token" else "RAY_AUTH_MODE is not set"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Line("ok", "token", _HERE, f"{said}; a token in RAY_AUTH_TOKEN")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        about, is_empty = path.stat(), not path.read_text(encoding="utf-8").strip()
    except OSError:
        if "RAY_AUTH_TOKEN_PATH" in os.environ:
            remedy = f"the cluster's token: export RAY_AUTH_TOKEN=…, or write it to {path}"
            return Line("bad", "token", _HERE, f"{path} (RAY_AUTH_TOKEN_PATH) cannot be read", remedy)
        return Line("ok", "token", _HERE, f"{said}; no token yet, a sweep on this machine makes one")
    if is_empty:
        return Line("bad", "token", _HERE, f"{path} is empty", f"rm {path}, or write the cluster's token to it")
    others = stat.S_IRWXG | stat.S_IRWXO
    if about.st_mode & others:
        open_to = f"{said}; a token in {path}, which others may open (mode {about.st_mode & 0o777:o})"
        return Line("warn", "token", _HERE, open_to, f"chmod 600 {path}")
    return Line("ok", "token", _HERE, f"{said}; a token in {path}")


def tracking_lines(root: Path | None) -> Iterator[Line]:
    """The tracking servers that MLFLOW_TRACKING_URI and the newest sweep of the root's folder name."""
    uris = dict.fromkeys([os.environ.get("MLFLOW_TRACKING_URI"), _newest_uri(root) if root else None])
    servers = [uri for uri in uris if uri is not None and uri.startswith(("http://", "https://"))]
    if not servers:
        yield Line("ok", "tracking", _HERE, "no server: a database in the root, which stsweep ui shows")
    for uri in servers:
        yield _server_line(uri)


def _newest_uri(root: Path) -> str | None:
    try:
        names = sweep_names(root)
        said = read_yaml(root / names[-1] / "spec.yaml").data.get("tracking_uri") if names else None
    except (OSError, Refused):
        return None
    return said if isinstance(said, str) else None


def _server_line(uri: str) -> Line:
    shown = without_passwords(uri)
    mine = version("mlflow")
    try:
        with urllib.request.urlopen(f"{shown.rstrip('/')}/version", timeout=NETWORK_S) as answer:
            theirs = answer.read(100).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            said = f"{shown} asks who you are ({error.code})"
            remedy = "export MLFLOW_TRACKING_USERNAME=… MLFLOW_TRACKING_PASSWORD=…, or MLFLOW_TRACKING_TOKEN=…"
            known = any(name in os.environ for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN")) or (
                shown != uri
            )
            return Line("ok" if known else "warn", "tracking", _HERE, said, None if known else remedy)
        return Line("warn", "tracking", _HERE, f"{shown} answers {error.code}", f"curl -i {shown}/version")
    except (OSError, ValueError, HTTPException) as error:  # the last: something answers that speaks no HTTP
        why = getattr(error, "reason", None) or str(error).strip() or type(error).__name__
        remedy = f"curl -i {shown}/version; without it a sweep runs all the same, and sends later"
        return Line("warn", "tracking", _HERE, f"{shown} does not answer: {why}", remedy)
    said = f"{shown} is MLflow {theirs}, here {mine}"
    if theirs.split(".")[:1] == mine.split(".")[:1]:
        return Line("ok", "tracking", _HERE, said)
    return Line("warn", "tracking", _HERE, said, f"pip install mlflow=={theirs}, or another server")


def hub_line() -> Line:
    """Where downloaded models are kept, and whether there can be more."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if not os.access(existing(cache), os.W_OK):
        return Line("bad", "hub", _HERE, f"the cache {cache} cannot be written", "export HF_HOME=FOLDER")
    kept = sum(1 for each in cache.glob("models--*")) if cache.is_dir() else 0
    said = f"cache {cache} ({kept} models)"
    if hub_answers():
        return Line("ok", "hub", _HERE, f"{said}; {constants.ENDPOINT} answers")
    why = f"{constants.ENDPOINT} does not answer"
    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set"
    remedy = "models in folders or in the cache: hf download MODEL, where there is a network"
    return Line("warn", "hub", _HERE, f"{said}; {why}", remedy)


def root_line(root: str) -> Line:
    """Whether a new sweep can be made there; at a URI, whether its store answers and takes what is written."""
    try:
        folder = root_folder(root)
        check_root(folder)
        if (uri := uri_of(folder)) is None:
            place, count = str(folder.absolute()), len(sweep_names(folder))
        else:
            from sweep.object_store.store import open_store

            place, count = uri, len(open_store(uri).folders())
    except Refused as refused:
        said = "; ".join(str(replace(problem, key=None)) for problem in refused.problems)
        return Line("bad", "root", _HERE, said, refused.next)
    return Line("ok", "root", _HERE, f"{place}: {count or 'no'} sweeps")
