import subprocess
import sys

import pytest

from src.config.url import check_no_credentials, check_remote, mask_url, mask_urls


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/t.csv?format=csv&gid=0", "https://host/t.csv?format=***&gid=***"),
        ("https://host/t.csv;v=1?x", "https://host/t.csv;v=***?***"),
        ("https://host/#access_token=x&b", "https://host/#***"),
        ("https://host/?a=b=c==&d=", "https://host/?a=***&***"),
        ("ftp://user@host/t.csv", "ftp://***@host/t.csv"),
        ("sqlite:////a#b/c.db?timeout=5", "sqlite:////a#b/c.db?timeout=***"),
        ("https:/ann:pw@host/t.csv?x", "https:/***@host/t.csv?***"),
        ("ann:pw@host/t.csv", "***@host/t.csv"),
        ("git@host:team/repo", "git@host:team/repo"),
        ("data/a?b#c.csv", "data/a?b#c.csv"),
    ],
)
def test_all_that_may_be_secret_in_a_url_is_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert mask_url(shown) == shown
    assert mask_urls(f"cannot read '{url}' of {url} at v1") == f"cannot read '{shown}' of {shown} at v1"


@pytest.mark.parametrize(
    "url",
    [
        "https:///ann:pw@host/x",
        "//ann:pw@host/x",
        "https:\\\\ann:pw@host",
        "ssh://ann%3Apw@host/x",
        "https:ann:pw@host",
    ],
)
def test_password_is_found_in_addresses_that_only_some_programs_accept(url: str) -> None:
    with pytest.raises(ValueError, match="must not contain credentials"):
        check_no_credentials(url)


@pytest.mark.parametrize(
    "url",
    ["git@host:team/repo", "C:\\data\\me@work.csv", "C:/data/a:b@c.csv", "../data", "data/a@v1:b", "a b/c", ".",
     "s3://bucket/a%23b@c/t.csv", "ssh://git@host:22/~/x", "file:///data/a@b", "http://[::1]:9000", ""],
)  # fmt: skip
def test_paths_and_addresses_without_a_password_are_accepted(url: str) -> None:
    assert check_no_credentials(url) == url
    assert mask_url(url) == url or "git@host" in url


def test_command_checks_both_addresses_of_a_remote() -> None:
    for urls, name in ((("s3://a/b", "https://u:S@minio"), "ENDPOINT"), (("s3://a/b?token=S", ""), "URL")):
        command = [sys.executable, "-m", "src.config.url", *urls]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr.startswith(f"{name} must not contain credentials")) == (1, True)
    assert subprocess.run([*command[:3], "s3://a/b", "https://minio:9000"], check=False).returncode == 0


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///path", "s3:bucket/path", "S3://bucket", "gs:/bucket", "azure://", "ssh:///p"]
)
def test_remote_without_a_bucket_or_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"names no (bucket|container|host); write \w+://"):
        check_remote(url)


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/path", "azure://c", "ssh://me@host:22/p", "s3://storage/path", "/mnt/s3:x", "https://minio.org"],
)
def test_other_remotes_are_accepted(url: str) -> None:
    assert check_remote(url) == url
