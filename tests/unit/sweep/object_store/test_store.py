"""What a store's answers mean: a server of HTTP that says what S3 says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sweep.errors import Refused
from sweep.object_store.store import StorageAway, StorageFault, Store, _filesystem, open_store, patiently

EXPIRED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><RequestId>1</RequestId></Error>
"""


class Expired(BaseHTTPRequestHandler):
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: 400, and no body where HEAD is asked."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(400)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(EXPIRED)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(EXPIRED)

    do_HEAD = do_GET = do_PUT = answer  # noqa: N815  the names by which the server looks for them

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def expired(monkeypatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Expired) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "old")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        _filesystem.cache_clear()
        yield
        _filesystem.cache_clear()
        server.shutdown()
        thread.join()


def test_a_token_that_has_expired_is_refused_at_once_with_the_remedy(expired):
    uri = "s3://bucket/a"
    store = Store(uri, "bucket/a", _filesystem(uri))
    actions: list[Callable[[], object]] = [
        lambda: open_store(uri),
        store.objects,
        lambda: store.write("row", b"1"),
        lambda: store.read("row"),
        lambda: store.has("row"),
    ]
    for action in actions:
        with pytest.raises(StorageFault, match="token that has expired") as fault:
            patiently(action, 120)
        assert not isinstance(fault.value, StorageAway)
        assert "AWS_SESSION_TOKEN" in fault.value.next


@pytest.mark.parametrize("endpoint", ["ftp://host:1", "http://[host", "http://key:tell-nobody@host"])
def test_an_endpoint_that_is_none_is_refused_and_its_secret_not_repeated(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(Refused, match="give http://HOST:PORT") as refused:
        open_store("s3://bucket/of-no-endpoint")
    assert "tell-nobody" not in str(refused.value)
