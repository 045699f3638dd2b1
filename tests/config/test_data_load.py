from typing import Any

import pytest

from src.config.data_load import FileSource
from tests.config.conftest import Load, Refusal

PATH = {"data_load.external_path": "data/external/t.csv"}


def test_file_needs_no_settings_but_its_kind(load: Load) -> None:
    source = load(PATH | {"data_load.source": {"kind": "file"}}).data_load.source
    assert isinstance(source, FileSource)
    assert (source.separator, source.encoding, source.decimal, source.dates) == ("auto", "utf-8", ".", [])
    assert source.missing == ["", "#N/A", "N/A", "NA", "NULL", "NaN", "nan", "null"]


def test_marks_of_missing_values_are_added_to_the_usual_ones_unless_these_are_declined(load: Load) -> None:
    own = {"kind": "file", "na_values": ["?"]}
    for more, usual in (({}, True), ({"default_na_values": False}, False)):
        source = load(PATH | {"data_load.source": own | more}).data_load.source
        assert isinstance(source, FileSource)
        assert {"", "?"} <= set(source.missing)
        assert ("NA" in source.missing) is usual


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("separator", "", "must be auto or one ASCII letter"),
        ("separator", ";;", "must be auto or one ASCII letter"),
        ("separator", "§", "must be auto or one ASCII letter"),
        ("separator", '"', "must be auto or one ASCII letter"),
        ("separator", "\n", "must be auto or one ASCII letter"),
        ("encoding", "utf-9", "names no encoding; try utf-8, cp1252, latin-1 or utf-16"),
        *[
            ("encoding", name, "is no encoding of text; try utf-8, cp1252, latin-1 or utf-16")
            for name in ("rot13", "hex", "base64", "zlib", "punycode", "idna", "undefined", "unicode_escape")
        ],
        ("decimal", ";", "must be '.' or ','"),
        ("na_values", "NA", "must be a valid list"),
        ("na_values", [0], "must be a valid string"),
        ("dates", [""], "at least 1 character"),
    ],
)
def test_setting_of_a_file_that_cannot_be_is_refused(refusal: Refusal, setting: str, value: Any, fault: str) -> None:
    message = refusal(PATH | {"data_load.source": {"kind": "file", setting: value}})
    assert message.startswith(f"params.yaml: data_load.source.{setting}")
    assert fault in message


@pytest.mark.parametrize("separator", ["auto", ",", ";", "\t", "|", " "])
def test_separators_are_one_letter(load: Load, separator: str) -> None:
    source = load(PATH | {"data_load.source": {"kind": "file", "separator": separator}}).data_load.source
    assert isinstance(source, FileSource)
    assert source.separator == separator


SIGNED = [
    "sig=secret",
    "se=2030&sp=r&sig=secret%2Fsecret%3D",
    "X-Amz-Algorithm=AWS4&X-Amz-Credential=secret&X-Amz-Signature=secret",
    "x-goog-signature=secret",
    "AWSAccessKeyId=secret",
    "token=secret",
    "access_token=secret",
    "TOKEN=secret",
    "key=secret",
    "api_key=secret",
    "apikey=secret",
    "user=x&password=secret",
]


@pytest.mark.parametrize("query", SIGNED)
def test_signed_address_is_refused_without_telling_what_signs_it(refusal: Refusal, query: str) -> None:
    for source in (
        {"kind": "url", "url": f"https://example.org/t.csv?{query}"},
        {"kind": "dvc", "path": "t.csv", "rev": "v1", "repo": f"https://example.org/r?{query}"},
        {"kind": "url", "url": "https://example.org/t.csv", "link": f"https://example.org/t.csv?{query}"},
    ):
        message = refusal(PATH | {"data_load.source": source})
        assert "secret" not in message
        assert "link" in source or "must hold no credentials, and seems to be signed; use the provider's own" in message


@pytest.mark.parametrize("query", ["", "?download=1", "?format=csv&design=a&monkey=b", "?keyword=x"])
def test_address_with_a_harmless_query_is_taken(load: Load, query: str) -> None:
    source = {"kind": "url", "url": f"https://example.org/t.csv{query}"}
    assert load(PATH | {"data_load.source": source}).data_load.source.kind == "url"


@pytest.mark.parametrize("url", ["https://user:secret@example.org/t.csv", "https://token@example.org/t.csv"])
def test_credentials_in_an_address_are_refused_without_telling_them(refusal: Refusal, url: str) -> None:
    message = refusal(PATH | {"data_load.source": {"kind": "url", "url": url}})
    assert "must hold no credentials" in message
    assert "secret" not in message
    assert "token" not in message
