"""What opens a store, from the driver to its workers: variables by name, never written anywhere.

Ray gives a worker the environment of its node. What a `runtime_env` adds to it is in Ray's logs and on its dashboard,
so secrets go through the object store, which is memory.
"""

from __future__ import annotations

import os

PLACES = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"),
    *("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
)
"""Variables that say where a store is, and in which file its keys are."""
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")


def secrets_here() -> dict[str, str]:
    """The secrets of this process's environment; none on machines that have a role of their own."""
    return {name: os.environ[name] for name in SECRETS if name in os.environ}


def keep_secrets_from_logs() -> None:
    """Have Tune put none into its trials' `runtime_env`, as ray 2.60 does by itself (tune/execution/class_cache.py).

    Every node's `runtime_env_agent.log` would have them in plain text.
    """
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)
