"""The part of a Ray head that is asked before Ray is: its control store, which knows its versions and a token."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def control_store(token: str | None = None, **versions: str) -> Iterator[str]:
    """The address of one that answers as ray 2.60's does; with a token, to those alone who bring it."""
    import grpc
    import ray
    from ray.core.generated.gcs_service_pb2 import InternalKVGetReply, InternalKVGetRequest

    said = {"ray_version": ray.__version__, "python_version": platform.python_version()} | versions

    def get(_: InternalKVGetRequest, asked: Any) -> InternalKVGetReply:
        if token is not None and ("authorization", f"Bearer {token}") not in asked.invocation_metadata():
            asked.abort(grpc.StatusCode.UNAUTHENTICATED, "")
        return InternalKVGetReply(value=json.dumps(said).encode())

    method = grpc.unary_unary_rpc_method_handler(
        get, InternalKVGetRequest.FromString, InternalKVGetReply.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("ray.rpc.InternalKVGcsService", {"InternalKVGet": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)
