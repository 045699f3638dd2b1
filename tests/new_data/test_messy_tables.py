"""From a messy file, by the starter's proposal alone, to the right values in training and in prediction."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.config.data_load import FileSource
from src.config.load import load_config
from src.data.columns import declared_columns, read_columns
from src.new_data.__main__ import propose
from src.new_data.guess import Guess, guess_table
from src.predict import predict_file
from src.stages.data_load import data_load

ROOT = Path(__file__).parents[2]
N = 300
RNG = np.random.default_rng(3)


class Echo:
    """A model that predicts a column as it was converted."""

    def __init__(self, columns: dict[str, Any], name: str) -> None:
        self._name = name
        self.feature_names_in_ = [name]
        self._features = SimpleNamespace(kw_args={"columns": {name: columns[name]}})

    def __getitem__(self, step: str) -> Any:
        return self._features

    def predict(self, X: pd.DataFrame) -> Any:
        return X[self._name].to_numpy()


Read = Callable[..., tuple[Guess, pd.Series, pd.Series]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return the guess for a file, a column as training sees it, and the same of other rows in prediction."""
    monkeypatch.chdir(tmp_path)
    Path("data/external").mkdir(parents=True)

    def run(values: list[Any], unseen: list[Any] | None = None, separator: str = ",") -> tuple[Guess, Any, Any]:
        path = Path("data/external/t.csv")
        others = {"z": RNG.normal(size=len(values)).round(3), "target": RNG.choice(["u", "v"], len(values))}
        if separator == ";":
            others["z"] = [str(number).replace(".", ",") for number in others["z"]]
        pd.DataFrame({"x": values, **others}).to_csv(path, index=False, sep=separator)
        guess = guess_table(path, "target")
        text = propose((ROOT / "params.yaml").read_text(encoding="utf-8"), guess, path, None)
        Path("params.yaml").write_text(text.replace("enabled: true", "enabled: false"), encoding="utf-8")
        config = load_config(Path("params.yaml"))
        assert declared_columns(config)["x"] == guess.columns["x"].declared
        data_load(config)
        trained = pd.read_parquet(config.data_load.dataset_path)["x"]
        columns = read_columns(config.data_load.schema_path)
        if columns["x"]["kind"] == "ignore":
            return guess, trained, trained
        rows = pd.DataFrame({"x": values if unseen is None else unseen})
        rows.assign(y=1).to_csv("rows.csv", index=False, sep=separator)
        source = config.data_load.source
        assert isinstance(source, FileSource)
        predict_file(Echo(columns, "x"), Path("rows.csv"), Path("echo.parquet"), how=source)
        predicted = pd.read_parquet("echo.parquet")["prediction"]
        if unseen is None:
            pd.testing.assert_series_equal(predicted, trained, check_names=False, check_dtype=False)
        return guess, trained, predicted

    return run


NUMBERS = RNG.uniform(1000, 90_000, N).round(2).tolist()
WHOLE = [float(round(number)) for number in NUMBERS]
SMALL = RNG.uniform(0.5, 99, N).round(2).tolist()


def swap(text: str) -> str:
    return text.translate(str.maketrans(".,", ",."))


@pytest.mark.parametrize(
    ("numbers", "write", "declared", "separator"),
    [
        (NUMBERS, "${:,.2f}".format, {"decimal": ".", "thousands": ",", "unit": "$"}, ","),
        (WHOLE, "{:,.0f}".format, {"decimal": ".", "thousands": ","}, ","),
        (NUMBERS, lambda number: swap(f"{number:,.2f} €"), {"decimal": ",", "thousands": ".", "unit": "€"}, ";"),
        (NUMBERS, lambda number: swap(f"{number:,.2f}"), {"decimal": ",", "thousands": "."}, ";"),
        (NUMBERS, lambda number: swap(f"{number:.2f} €"), {"decimal": ",", "unit": "€"}, ","),
        (SMALL, "{:.2f}%".format, {"decimal": ".", "unit": "%"}, ","),
        (SMALL, "{:.2f} kg".format, {"decimal": ".", "unit": "kg"}, ","),
        (SMALL, lambda number: str(number).replace(".", ","), {"decimal": ","}, ","),
        (NUMBERS, lambda number: f"{number:,.2f}".replace(",", "'"), {"decimal": ".", "thousands": "'"}, ","),
        (NUMBERS, lambda number: f"{number:,.2f}".replace(",", " "), {"decimal": ".", "thousands": " "}, ","),
        ([-number for number in SMALL], lambda number: f"({-number:.2f})", {}, ","),
        ([-number for number in SMALL], lambda number: f"{-number:.2f}-", {}, ","),
        ([-number for number in SMALL], lambda number: f"\u2212{-number:.2f}", {}, ","),
        (NUMBERS, lambda number: swap(f"R$ {number:,.2f}"), {"decimal": ",", "thousands": ".", "unit": "R$"}, ","),
        (NUMBERS, lambda number: swap(f"kr {number:.2f}"), {"decimal": ",", "unit": "kr"}, ";"),
        ([-number for number in SMALL], lambda number: f"-${-number:.2f}", {"decimal": ".", "unit": "$"}, ","),
    ],
)
def test_formatted_numbers_become_numbers(
    read: Read, numbers: list[float], write: Callable[[float], str], declared: dict[str, str], separator: str
) -> None:
    texts = [write(number) for number in numbers]
    guess, trained, predicted = read(texts, separator=separator)
    assert guess.columns["x"].declared == {"kind": "number", **declared}
    assert trained.tolist() == pytest.approx(numbers)
    # Rows that the starter has not seen, one of them empty.
    new = [12345.5, 7.25] if numbers is not WHOLE else [12345.0, 7.0]
    signs = [-number for number in new] if numbers[0] < 0 else new
    _, _, predicted = read(texts, [*map(write, signs), None], separator)
    assert predicted.tolist()[:2] == pytest.approx(signs)
    assert np.isnan(predicted.iloc[2])


@pytest.mark.parametrize("mark", ["-", "k.A.", "n/a", "unbekannt", "none", "pending"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_decimal_commas_with_marks_of_missing_values_become_numbers(read: Read, mark: str, separator: str) -> None:
    texts = [mark if position % 20 == 3 else str(number).replace(".", ",") for position, number in enumerate(SMALL)]
    guess, trained, _ = read(texts, separator=separator)
    assert guess.columns["x"].declared["kind"] == "number"
    assert guess.source["na_values"][0] == [mark]
    assert trained.isna().sum() == len(SMALL) / 20
    assert trained.dropna().tolist() == pytest.approx([x for position, x in enumerate(SMALL) if position % 20 != 3])


DAYS = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 900, N), unit="D"))


@pytest.mark.parametrize(
    "form",
    [
        "%d.%m.%Y", "%d/%m/%Y %H:%M", "%Y%m%d", "%d.%m.%y", "%m/%d/%Y", "%Y/%m/%d", "%d %b %Y", "%b %d, %Y",
        "%d-%b-%Y", "%B %d, %Y", "%m/%d/%Y %I:%M %p", "%d.%m.%Y, %H:%M", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S.%f", "%a, %d %b %Y %H:%M:%S +0000", "%A, %B %d, %Y", "%d/%b/%Y:%H:%M:%S +0000", "%d%b%Y",
        "%Y-%m-%d %H:%M:%S UTC", "%d.%m.%Y %H:%M Uhr",
    ],
)  # fmt: skip
def test_dates_in_one_format_become_dates(read: Read, form: str) -> None:
    guess, trained, _ = read(DAYS.dt.strftime(form).tolist())
    assert guess.columns["x"].declared["kind"] == "date"
    assert guess.columns["x"].doubt is None
    assert trained.tolist() == DAYS.tolist()


def test_dates_in_mixed_formats_become_dates(read: Read) -> None:
    texts = [f"{day:%d.%m.%Y}" if position % 3 else f"{day:%Y-%m-%d}" for position, day in enumerate(DAYS)]
    guess, trained, _ = read(texts)
    assert set(guess.columns["x"].declared["format"]) == {"%d.%m.%Y", "ISO8601"}
    assert trained.tolist() == DAYS.tolist()


def test_whole_numbers_with_missing_values_become_dates(read: Read) -> None:
    # pandas writes them as 20200131.0.
    days = [None if position % 9 == 0 else int(f"{day:%Y%m%d}") for position, day in enumerate(DAYS)]
    guess, trained, _ = read(days)
    assert guess.columns["x"].declared == {"kind": "date", "format": "%Y%m%d"}
    assert trained.dropna().tolist() == [day for position, day in enumerate(DAYS) if position % 9]


@pytest.mark.parametrize(
    ("write", "note"),
    [
        (lambda day: f"{day.day}. {['Januar', 'März', 'Mai', 'Juli'][day.month % 4]} {day.year}", "in no known format"),
        (lambda day: "31.02.2020" if day.day == 1 else f"{day:%d.%m.%Y}", "in no known format"),
        (lambda day: "offen" if day == DAYS[0] else f"{day:%d.%m.%Y}", "but not all, such as 'offen'"),
        (lambda day: f"{'$€'[day.day % 2]}{day.day_of_year:.2f}", "numbers in several units, $, €; convert"),
    ],
)
def test_dates_and_amounts_that_cannot_be_read_are_noted(
    read: Read, write: Callable[[pd.Timestamp], str], note: str
) -> None:
    guess, _, _ = read(DAYS.map(write).tolist())
    assert any("column 'x'" in line and note in line for line in guess.notes)


def test_phone_number_is_no_number(read: Read) -> None:
    phones = [f"0{a} {b} {c}" for a, b, c in RNG.integers(100, 1000, (N, 3))]
    assert read(phones)[0].columns["x"].declared == {"kind": "ignore"}


def test_different_texts_of_three_words_are_no_identifier(read: Read) -> None:
    assert read([f"very good film{position}" for position in range(N)])[0].columns["x"].declared == {"kind": "text"}


def test_blank_booleans_are_missing(read: Read) -> None:
    _, trained, _ = read(["Y", "n", " "] * (N // 3))
    assert trained.head(2).tolist() == [1, 0]
    assert trained.isna().sum() == N / 3


def test_class_with_a_single_row_is_noted(tmp_path: Path) -> None:
    pd.DataFrame({"z": SMALL, "target": ["u", *["v"] * (N - 1)]}).to_csv(tmp_path / "t.csv", index=False)
    notes = guess_table(tmp_path / "t.csv").notes
    assert any("is not possible: too few rows of class 'u' (1)" in note for note in notes)


def test_target_of_numbers_and_several_words_does_not_fail(tmp_path: Path) -> None:
    target = ["pending", "open", "lost", *map(str, NUMBERS[3:])]
    pd.DataFrame({"z": SMALL, "target": target}).to_csv(tmp_path / "t.csv", index=False)
    assert guess_table(tmp_path / "t.csv").task[0] == "classification"


def test_order_of_day_and_month_is_decided_by_the_order_of_the_rows_or_asked(read: Read) -> None:
    days = pd.Series(pd.Timestamp(2020, month, day) for month in range(1, 13) for day in range(1, 13))
    guess, trained, _ = read(days.dt.strftime("%m/%d/%Y").tolist())
    assert guess.columns["x"].declared["format"] == "%m/%d/%Y"
    assert trained.tolist() == days.tolist()
    shuffled = days.sample(frac=1, random_state=0)
    (guess, _, _) = read(shuffled.dt.strftime("%m/%d/%Y %H:%M").tolist())
    column = guess.columns["x"]
    assert column.declared["format"] == "%d/%m/%Y %H:%M"
    assert column.doubt is not None
    assert column.doubt.declared == {"kind": "date", "format": "%m/%d/%Y %H:%M"}


def test_time_zones_are_converted_to_utc(read: Read) -> None:
    _, trained, _ = read([f"{day:%Y-%m-%d} 00:30:00+01:00" for day in DAYS])
    assert trained.tolist() == (DAYS - pd.Timedelta("30min")).tolist()


@pytest.mark.parametrize("name", ["ts", "eventTime", "last_login", "datetime", "unix"])
@pytest.mark.parametrize("suffix", ["", ".25"])
def test_name_of_seconds_since_1970_may_vary(tmp_path: Path, name: str, suffix: str) -> None:
    seconds = [f"{int(day.timestamp())}{suffix}" for day in DAYS]
    pd.DataFrame({name: seconds, "target": ["u", "v"] * (N // 2)}).to_parquet(tmp_path / "s.parquet")
    table = pd.read_parquet(tmp_path / "s.parquet")
    table.to_csv(tmp_path / "s.csv", index=False)
    for path in (tmp_path / "s.parquet", tmp_path / "s.csv"):
        assert guess_table(path).columns[name].declared == {"kind": "date", "epoch": "s"}


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000)])
def test_seconds_since_1970_become_dates(tmp_path: Path, unit: str, factor: int) -> None:
    seconds = [int(day.timestamp()) * factor for day in DAYS]
    table = pd.DataFrame({"created_at": seconds, "amount": seconds, "target": ["u", "v"] * (N // 2)})
    table.to_csv(tmp_path / "s.csv", index=False)
    columns = guess_table(tmp_path / "s.csv").columns
    assert columns["created_at"].declared == {"kind": "date", "epoch": unit}
    assert columns["amount"].declared == {"kind": "number"}


@pytest.mark.parametrize(
    "order",
    [
        ["0 - 10%", "11 - 23%", "24 - 60%"], ["<18", "18-24", "25-44", "45-54", "55+"], ["low", "medium", "high"],
        ["1 star", "2 stars", "5 stars"], ["Never", "Sometimes", "Often", "Always"], ["0", "1", "2", "3+"],
        ["$0-$999", "$1,000-$4,999", "$5,000+"], ["niedrig", "mittel", "hoch"],
        ["(0, 5]", "(5, 10]", "(10, 99.5]"], ["None", "A little", "Some", "A lot"],
        ["mangelhaft", "befriedigend", "gut", "sehr gut"], ["1st", "2nd", "4th", "10th"],
    ],
)  # fmt: skip
def test_levels_with_an_order_become_ordinals(read: Read, order: list[str]) -> None:
    texts = [order[position % len(order)] for position in RNG.integers(0, 100, N)]
    guess, trained, _ = read(texts)
    assert guess.columns["x"].declared == {"kind": "ordinal", "order": order}
    assert trained.tolist() == texts
    # An unseen level counts as missing.
    assert read(texts, [order[0], "unheard of"])[2].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("true", "false"), [(["yes", "Y"], ["No", "n"]), (["ja"], ["nein"]), (["TRUE", "t"], ["False"]), (["oui"], ["non"])]
)
def test_words_for_true_and_false_become_booleans(read: Read, true: list[str], false: list[str]) -> None:
    texts = [[*true, *false][position] for position in RNG.integers(0, len([*true, *false]), N)]
    guess, trained, _ = read(texts)
    assert guess.columns["x"].declared == {"kind": "boolean"}
    assert trained.tolist() == [float(text in true) for text in texts]


def test_reviews_become_text(read: Read) -> None:
    words = ["good", "bad", "film", "the", "actor", "long"]
    texts = [" ".join(RNG.choice(words, 6)) for _ in range(N)]
    guess, trained, predicted = read(texts, ["never seen words", None])
    assert guess.columns["x"].declared == {"kind": "text"}
    assert trained.tolist() == texts
    assert predicted.tolist()[0] == "never seen words"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("patient", [f"P{position // 5:03d}" for position in range(N)]),
        ("patient_id", [position // 5 for position in range(N)]),
        ("code", [f"AB-{position // 5:04d}" for position in range(N)]),
        ("x", [f"{position // 5:08x}-76ed-cb96-c82f-d3f538800007" for position in range(N)]),
        ("userid", [1000 + 7 * (position // 5) for position in range(N)]),
        ("Kundennummer", [1000 + 7 * (position // 5) for position in range(N)]),
        ("customerId", [1000 + 7 * (position // 5) for position in range(N)]),
    ],
)
def test_identifier_with_a_few_rows_each_is_ignored_and_groups_the_split(
    tmp_path: Path, name: str, values: list[Any]
) -> None:
    pd.DataFrame({name: values, "z": RNG.normal(size=N), "target": ["u", "v"] * (N // 2)}).to_csv(tmp_path / "t.csv")
    guess = guess_table(tmp_path / "t.csv", "target")
    assert guess.columns[name].declared == {"kind": "ignore"}
    assert guess.split[0] == {"kind": "group", "column": name}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", [position % 60 for position in range(N)]),
        ("town", [f"town {position % 60}" for position in range(N)]),
        ("patient_age", [position % 60 for position in range(N)]),
        ("n_customers", [position % 60 for position in range(N)]),
        ("zip_code", [10_000 + position % 4 for position in range(N)]),
    ],
)
def test_other_values_that_repeat_are_features(tmp_path: Path, name: str, values: list[Any]) -> None:
    pd.DataFrame({name: values, "z": RNG.normal(size=N), "target": ["u", "v"] * (N // 2)}).to_csv(tmp_path / "t.csv")
    guess = guess_table(tmp_path / "t.csv", "target")
    assert guess.columns[name].declared["kind"] != "ignore"
    assert guess.split[0] == {"kind": "stratified"}


@pytest.mark.parametrize(
    "values", [[f"{n:08x}" for n in RNG.integers(0, 2**31, N)], list(range(N)), list(range(N, 0, -1))]
)
def test_value_that_is_different_in_each_row_is_ignored(read: Read, values: list[Any]) -> None:
    assert read(values)[0].columns["x"].declared == {"kind": "ignore"}


def test_rows_in_order_of_time_are_split_by_time(read: Read) -> None:
    days = pd.date_range("2020-01-01", periods=N).strftime("%d.%m.%Y").tolist()
    assert read(days)[0].split[0] == {"kind": "time", "column": "x"}


def test_target_in_a_format_is_predicted_as_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data/external/t.csv")
    path.parent.mkdir(parents=True)
    pd.DataFrame({"a": SMALL, "price": [f"${number:,.2f}" for number in NUMBERS]}).to_csv(path, index=False)
    guess = guess_table(path)
    text = propose((ROOT / "params.yaml").read_text(encoding="utf-8"), guess, path, None)
    Path("params.yaml").write_text(text.replace("enabled: true", "enabled: false"), encoding="utf-8")
    data_load(load_config(Path("params.yaml")))
    assert pd.read_parquet("data/raw/dataset.parquet")["price"].tolist() == pytest.approx(NUMBERS)


def test_target_in_several_spellings_becomes_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data/external/t.csv")
    path.parent.mkdir(parents=True)
    words = ["yes", "No", "Y", "n"]
    pd.DataFrame({"a": SMALL, "paid": [words[n] for n in RNG.integers(0, 4, N)]}).to_csv(path, index=False)
    guess = guess_table(path)
    text = propose((ROOT / "params.yaml").read_text(encoding="utf-8"), guess, path, None)
    Path("params.yaml").write_text(text.replace("enabled: true", "enabled: false"), encoding="utf-8")
    data_load(load_config(Path("params.yaml")))
    assert pd.read_parquet("data/raw/dataset.parquet")["paid"].dtype == bool
    assert guess.positive in (True, False)
