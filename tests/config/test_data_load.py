from typing import Any

import pytest

from src.config.data_load import DvcSource, FileSource
from tests.config.conftest import Load, Refusal

PATH = {"data_load.external_path": "data/external/t.csv"}


def test_file_needs_only_its_kind(load: Load) -> None:
    source = load(PATH | {"data_load.source": {"kind": "file"}}).data_load.source
    assert isinstance(source, FileSource)
    assert (source.separator, source.encoding, source.decimal, source.dates) == ("auto", "utf-8", ".", [])
    assert source.missing == ["", "#N/A", "N/A", "NA", "NULL", "NaN", "nan", "null"]


@pytest.mark.parametrize(("options", "has_defaults"), [({}, True), ({"default_na_values": False}, False)])
def test_na_values_add_to_the_default_marks_unless_these_are_off(options: dict[str, Any], has_defaults: bool) -> None:
    source = FileSource.model_validate({"kind": "file", "na_values": ["?"], **options})
    assert {"", "?"} <= set(source.missing)
    assert ("NA" in source.missing) is has_defaults


SEPARATOR = "must be auto, whitespace or a single ASCII character other than a quote or a newline"


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        *[("separator", value, f": {SEPARATOR}") for value in ("", ";;", "§", '"', "\n")],
        *[
            ("encoding", value, " is unknown; choose a text encoding such as utf-8, cp1252, latin-1 or utf-16")
            for value in ("utf-9", "rot13", "base64", "undefined")
        ],
        ("decimal", ";", " is unknown; choose '.' or ','"),
        ("na_values", "NA", ": must be a valid list"),
        ("na_values", [0], ": must be a valid string"),
        ("dates", [""], ": must have at least 1 character"),
    ],
)
def test_wrong_format_of_a_file_is_refused(refusal: Refusal, setting: str, value: Any, problem: str) -> None:
    message = refusal(PATH | {"data_load.source": {"kind": "file", setting: value}})
    shown = value[0] if isinstance(value, list) else value
    assert message.startswith(f"params.yaml: data_load.source.{setting} = {shown!r}{problem}")


@pytest.mark.parametrize("separator", ["auto", "whitespace", ",", ";", "\t", "|", " "])
def test_separator_is_a_single_character(load: Load, separator: str) -> None:
    source = load(PATH | {"data_load.source": {"kind": "file", "separator": separator}}).data_load.source
    assert isinstance(source, FileSource)
    assert source.separator == separator


def test_revision_that_yaml_reads_as_a_number_is_refused(refusal: Refusal) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": ".", "rev": 1.0}
    assert refusal({"data_load.source": source}) == "params.yaml: data_load.source.rev = 1.0: must be a valid string."


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
    "sas=secret",
    "code=secret",
    "a=b&code=secret",
    "jwt=secret",
    "pass=secret",
    "x;pass=secret",
    "%74oken=secret",
    "%2574oken=secret",
    "sessionToken=secret",
    "t=eyJhbGciOiJIUzI1NiJ9.secret",
    *(f"{name}=secret" for name in (
        "secretkey", "privatekey", "authkey", "sharedkey", "masterkey", "sessionkey", "functionkey", "subscriptionkey",
        "passcode", "accesscode", "authcode", "pin", "psw", "pswd", "userpwd", "sid", "sessionid", "jsessionid",
        "PHPSESSID", "session", "session_id", "hmac", "tok", "signed", "tokens", "secrets", "api_keys", "hdnts",
        "cookie", "ticket",
    )),
    "eyJhbGciOiJIUzI1NiJ9.secret",
    "ghp_secret",
    "a=AKIAsecret",
    "a=b&c=ghp_secret",
    "to%09ken=secret",
    "b=c%253Ftoken%253Dsecret",
    "b=1%26token=secret",
    "next=https://user:secret@example.org/",
    "next=https:/user:secret@example.org/",
    "next=user:secret@example.org/",
    "next=https%3A%2F%2Fuser%3Asecret@example.org/",
]  # fmt: skip


@pytest.mark.parametrize("query", SIGNED)
@pytest.mark.parametrize(
    "source",
    [
        {"kind": "url", "url": "https://example.org/t.csv?"},
        {"kind": "dvc", "path": "t.csv", "rev": "v1", "repo": "https://example.org/r?"},
    ],
)
def test_signed_url_is_refused_without_showing_the_signature(
    refusal: Refusal, query: str, source: dict[str, str]
) -> None:
    message = refusal(
        PATH | {"data_load.source": {key: value.replace("?", f"?{query}") for key, value in source.items()}}
    )
    assert "must not contain credentials" in message
    assert "secret" not in message.replace("secrets=", "").replace("secretkey=", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@example.org/data.git",
        "https://secret@example.org/data.git",
        "https://user:sec@ret@example.org/data.git",
        "ssh://git:secret@example.org/data.git",
        "ftp://user@example.org/data.git",
        "s3://user:secret@example.org/data.git",
        "https://user:sec/ret@example.org/data.git",
        "https:/user:secret@example.org/data.git",
        "user:secret@example.org/data.git",
    ],
)
def test_credentials_in_a_url_are_refused_without_showing_them(refusal: Refusal, url: str) -> None:
    message = refusal({"data_load.source": {"kind": "dvc", "path": "t.parquet", "repo": url, "rev": "v1"}})
    assert message.endswith(
        "@example.org/data.git': must not contain credentials; use git's credential helper or an SSH key."
    )
    assert "sec" not in message
    assert "user" not in message


def test_fragment_of_a_url_is_refused_without_showing_it(refusal: Refusal) -> None:
    message = refusal(PATH | {"data_load.source": {"kind": "url", "url": "https://example.org/t.csv#token=secret"}})
    assert "data_load.source.url = 'https://example.org/t.csv#***': must not contain a fragment" in message


def test_credentials_in_an_unknown_setting_are_not_shown(refusal: Refusal) -> None:
    source = {"kind": "url", "url": "https://example.org/t.csv", "link": "https://user:secret@example.org/t?sig=secret"}
    message = refusal(PATH | {"data_load.source": source})
    assert "data_load.source.link = 'https://***@example.org/t?sig=***' is unknown" in message


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?download=1",
        "?format=csv&design=a&monkey=b",
        "?keyword=x",
        "?country_code=DE",
        "?compass=1&barcode=2",
        "?zipcode=1&postcode=2",
        "?keys_only=1&session_type=a&turkey=b",
        "?side=a&pinned=1&assign=b&region=ASIA",
    ],
)
def test_url_with_a_harmless_query_is_accepted(load: Load, query: str) -> None:
    source = {"kind": "url", "url": f"https://example.org/t.csv{query}"}
    assert load(PATH | {"data_load.source": source}).data_load.source.kind == "url"


@pytest.mark.parametrize(
    "repo",
    [
        "ssh://git@example.org:22/data.git",
        "git@example.org:team/data.git",
        "ssh://example.org:22/a@b",
        "https://example.org/a@b",
        "../data",
    ],
)
def test_repository_without_credentials_is_accepted(load: Load, repo: str) -> None:
    source = {"kind": "dvc", "path": "t.parquet", "repo": repo, "rev": "v1"}
    assert load({"data_load.source": source}).data_load.source == DvcSource.model_validate(source)


@pytest.mark.parametrize(
    "column",
    [
        {"kind": "number", "min": 0, "max": 120, "missing": False},
        {"kind": "number", "min": 1.0, "max": 1.0},
        {"kind": "number", "max": 0.5},
        {"kind": "ordinal", "order": ["low", "high"]},
        {"kind": "ordinal", "order": [1, 2.5, "x", True]},
        {"kind": "category", "values": ["a"]},
        {"kind": "date", "format": "%d.%m.%Y"},
        {"kind": "date", "format": ["%d.%m.%Y", "%Y-%m-%d"]},
        {"kind": "date", "epoch": "s"},
        {"kind": "number", "decimal": ",", "thousands": ".", "unit": "€"},
        {"kind": "text"},
        {"kind": "ignore"},
    ],
)
def test_declared_column_is_handed_on_as_declared(load: Load, column: dict[str, Any]) -> None:
    assert load({"data_load.columns": {"x": column}}).declared_columns == {"x": column}


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ({"kind": "ordinal"}, ": an ordinal needs order: its levels, lowest first"),
        ({"kind": "category", "order": ["a", "b"]}, ": order applies to kind ordinal only, not to category"),
        ({"kind": "ordinal", "order": ["a"]}, ".order = ['a']: must have at least 2 items, not 1"),
        ({"kind": "ordinal", "order": ["a", None]}, ".order = None: must be text, a number or a boolean; put a date"),
        ({"kind": "category", "min": 0}, ": min applies to kind number only, not to category"),
        ({"kind": "date", "max": 0}, ": max applies to kind number only, not to date"),
        ({"kind": "category", "unit": "kg"}, ": unit applies to kind number only, not to category"),
        ({"kind": "number", "epoch": "s"}, ": epoch applies to kind date only, not to number"),
        ({"kind": "number", "unit": "1"}, ".unit = '1': must be the text before or after each number"),
        ({"kind": "number", "thousands": "."}, ": thousands = '.' is also the decimal mark; set decimal to"),
        ({"kind": "number", "decimal": ";"}, ".decimal = ';' is unknown; choose '.' or ','"),
        ({"kind": "date", "epoch": "s", "format": "%Y"}, ": has format and epoch; remove one of them"),
        ({"kind": "date", "format": []}, ".format = []: must be a format such as '%d.%m.%Y', or a list"),
        ({"kind": "number", "min": 2, "max": 1}, ": min = 2.0 is greater than max = 1.0"),
        ({"kind": "number", "format": "%Y"}, ": format applies to kind date only, not to number"),
        ({"kind": "date", "format": "iso"}, ".format = 'iso': must be a format such as '%d.%m.%Y', or a list"),
        ({"kind": "words"}, ".kind = 'words' is unknown; choose 'number', 'category', 'ordinal'"),
        ({"kind": "number", "mini": 0}, ".mini = 0 is unknown; did you mean min?"),
        ({}, ".kind is missing"),
        ({"kind": "category", "values": []}, ".values = []: must have at least 1 item, not 0"),
    ],
)
def test_wrong_column_is_refused(refusal: Refusal, column: dict[str, Any], problem: str) -> None:
    message = refusal({"data_load.columns": {"x": column}})
    assert message.startswith(f"params.yaml: data_load.columns.x{problem}")
    assert "\n" not in message
