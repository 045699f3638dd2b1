import pytest

from src.config.url import mask_url, mask_urls


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/t.csv?format=csv&gid=0", "https://host/t.csv?format=***&gid=***"),
        ("https://host/t.csv;v=1?x", "https://host/t.csv;v=***?***"),
        ("https://host/#access_token=x&b", "https://host/#***"),
        ("https://host/?a=b=c==&d=", "https://host/?a=***&***"),
        ("ftp://user@host/t.csv", "ftp://***@host/t.csv"),
        ("sqlite:////a#b/c.db?timeout=5", "sqlite:////a#b/c.db?timeout=***"),
        ("git@host:team/repo", "git@host:team/repo"),
        ("data/a?b#c.csv", "data/a?b#c.csv"),
    ],
)
def test_all_that_may_be_secret_in_a_url_is_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert mask_url(shown) == shown
    assert mask_urls(f"cannot read '{url}' of {url} at v1") == f"cannot read '{shown}' of {shown} at v1"
