"""Addresses of clusters: which are this machine's, and for which a token is required before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.address import auth_token, parse_address, token_problem
from sweep.errors import Exit, Refused

ELSEWHERE = [
    "10.0.0.5:6379",
    "http://10.0.0.5:8265",
    "https://10.0.0.5",
    "ray://10.0.0.5:10001",
    "http://[2001:db8::1]:1",
]
HERE = ["127.0.0.1:6379", "localhost:6379", "http://127.8.9.1:8265", "http://[::1]:8265", "ray://localhost:10001"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No token anywhere, and a home without one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("text", ELSEWHERE)
def test_no_address_of_another_machine_is_used_without_a_token(text, monkeypatch):
    problem = token_problem(parse_address(text))
    assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE" in str(problem)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-of-the-head")
    problem = token_problem(parse_address(text))
    assert "export RAY_AUTH_MODE=token" in str(problem), "Ray sends none until the mode says so"
    assert "secret-of-the-head" not in str(problem)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert token_problem(parse_address(text)) is None


@pytest.mark.parametrize("text", HERE)
def test_this_machine_is_asked_without_one(text):
    assert token_problem(parse_address(text)) is None


def test_the_token_is_the_one_that_ray_takes(home, monkeypatch):
    from ray._raylet import AuthenticationTokenLoader

    def rays() -> str:
        AuthenticationTokenLoader.instance().reset_cache()
        return AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True)

    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert auth_token() is None
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("of-the-home\n")
    (home / "file").write_text("of-the-file\n")
    assert auth_token() == rays() == "of-the-home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "file"))
    assert auth_token() == rays() == "of-the-file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-the-variable")
    assert auth_token() == rays() == "of-the-variable"


@pytest.mark.parametrize(
    "text",
    [
        *("head", "ftp://head:1", "http://", "http://[", "head:99999", "head:1?token=secret"),
        *("http://me:secret@head:8265", "http://me:secret/x@head:1", "ftp://me:secret@head"),
    ],
)
def test_what_is_no_address_is_refused_with_the_forms_that_are(text):
    with pytest.raises(Refused) as refused:
        parse_address(text)
    assert refused.value.exit_code is Exit.REFUSED
    forms = "HOST:PORT, http://HOST:PORT or https://HOST"
    assert str(refused.value).endswith(f"\nNext: the same command with --address {forms}")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["http://head:8265", "https://head:443/ray", "head:6379", "http://[::1]:8265"])
def test_an_address_is_asked_as_it_was_given(text):
    assert parse_address(text + "/" * text.startswith("http")).url == text


def test_an_address_without_a_port_has_its_schemes():
    assert parse_address("https://ray.example.org").port == 443
    assert parse_address("http://head").port == 80
