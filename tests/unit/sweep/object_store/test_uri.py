"""What a root's URI may say."""

from __future__ import annotations

import pytest

from sweep.errors import Refused
from sweep.object_store.uri import check_uri, is_uri, place_of, slug


@pytest.mark.parametrize(
    ("given", "kept", "path"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b", "bucket/a/b"),
        ("S3://bucket", "s3://bucket", "bucket"),
        ("gs://bucket//a", "gs://bucket/a", "bucket/a"),
        ("file:///mnt/nfs/my%20sweeps", "file:///mnt/nfs/my%20sweeps", "/mnt/nfs/my sweeps"),
        ("s3://bucket/a?region=eu-north-1", "s3://bucket/a?region=eu-north-1", "bucket/a"),
    ],
)
def test_a_uri_has_one_form(given, kept, path):
    assert is_uri(given)
    assert check_uri(given) == kept
    assert check_uri(kept) == kept
    assert place_of(kept)[1] == path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3a://bucket/a", "s3a:// is not among s3, gs, file; did you mean s3?"),
        ("http://host/a", "http:// is not among s3, gs, file"),
        ("s3://", "names no bucket"),
        ("file://here/a", "from / on"),
        ("file:///", "names no folder"),
        ("s3://bucket/../a", "'..'"),
        ("s3://bucket/a?regoin=x", "did you mean region?"),
        ("gs://bucket/a?region=x", "gs:// has none"),
        ("gs://[bucket/a", "no URI: Invalid IPv6 URL"),
        ("s3://bucket/a?scheme=ftp", "?scheme=ftp is not among http, https"),
        ("s3://bucket/a?endpoint_override=ftp://host", "give http://HOST:PORT"),
        ("s3://bucket/a?endpoint_override=http://[host", "give http://HOST:PORT"),
        ("s3://bucket/%2e%2e/a", "'..'"),
        ("file:///a%00b", "cannot be printed"),
        ("s3:/bucket/a", "s3: wants two slashes after it"),
        ("file:/a", "file: wants two slashes after it, or three and a folder"),
    ],
)
def test_what_is_no_root_is_refused_with_what_is_allowed(given, said):
    assert is_uri(given), "else a folder of that name would be made"
    with pytest.raises(Refused) as refused:
        check_uri(given)
    assert said in str(refused.value)


def test_keys_in_a_uri_are_refused_and_not_repeated_with_every_other_mistake():
    with pytest.raises(Refused) as refused:
        check_uri("s3://AKIAKEY:topsecret@bucket/a?access_key=hidden")
    assert len(refused.value.problems) == 2
    for secret in ("AKIAKEY", "topsecret", "hidden"):
        assert secret not in str(refused.value)
    assert "AWS_ACCESS_KEY_ID" in str(refused.value)


def test_two_uris_have_two_folders_and_a_legible_name():
    uris = ["s3://bucket/a-b", "s3://bucket/a/b", "gs://bucket/a/b", "s3://bucket/" + "x" * 100]
    names = [slug(uri) for uri in uris]
    assert len(set(names)) == len(uris)
    assert names[0].startswith("s3-bucket-a-b-")
    assert max(map(len, names)) < 80
    assert not is_uri("sweeps/a")
