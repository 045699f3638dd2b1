"""Guess the kind and the format of a column, with the reason."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from src.data.kinds import convert, holds_text, to_text
from src.data_load.infer import MANY_LEVELS, are_booleans, holds_objects, infer_kind
from src.data_load.number_format import MOSTLY, find_number_format, has_digits
from src.errors import DataError
from src.new_data.scales import find_order

# Names of columns whose values are different for each row, or for each patient and so on.
_ID = re.compile(
    r"(.*[^a-z])?(id|ids|uuid|guid|index|rownames|rownum|nr|no|key)|.*[a-z](Id|ID)|column_\d+|Unnamed: \d+"
)
_GROUP = re.compile(
    r"(patient|subject|participant|person|user|customer|client|member|household|family|student|pupil|employee|"
    r"respondent|panel|session|animal|device|machine|proband|kunden?|schueler)(id|nr|no|number|nummer)?",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z]{1,4}[-_ ]?\d{2,}|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-f]{16,}|\S+@\S+\.\w+")
# A word has two letters in a row.
_WORD = r"\S*[^\W\d_]{2}\S*"
_EPOCH_NAME = re.compile(
    r"(.*[^a-z])?(time|timestamp|datetime|ts|date|epoch|unix|login|seen|created|updated|modified|at|on)(_?at)?|"
    r".*(timestamp|_time)",
    re.IGNORECASE,
)
# Names of numbers that say when.
_TIME = re.compile(r"(.*[^a-z])?(time|t|second|minute|hour|day|week|month|quarter|year|period|age)s?", re.IGNORECASE)
# Seconds and milliseconds of the years 1980 to 2100.
_EPOCHS = {"s": (315_532_800, 4_102_444_800), "ms": (315_532_800_000, 4_102_444_800_000)}
# A column of fewer rows does not show whether its values repeat.
MIN_ROWS = 20
# Rows of one patient; more rows of a value make it an ordinary category.
MAX_GROUP_ROWS = 50
OTHER_MARK = {".": ",", ",": "."}
MAX_LEVELS, MAX_SHAPES = 100_000, 5
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y", "%d %m %Y", "%d.%m.%y", "%d/%m/%y", "%d-%m-%y")
_MONTHS = ("%m.%d.%Y", "%m/%d/%Y", "%m-%d-%Y", "%m %d %Y", "%m.%d.%y", "%m/%d/%y", "%m-%d-%y")
_DATES = (
    *_DAYS, *_MONTHS, "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d%b%Y", "%b %d %Y", "%B %d %Y", "%a, %d %b %Y", "%a %d %b %Y",
    "%A, %B %d, %Y", "%A, %d %B %Y", "%m/%Y", "%m.%Y", "%b %Y", "%B %Y", "%b-%Y",
    "%b-%y",
)  # fmt: skip
_TIMES = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", "T%H:%M:%S", " %H:%M:%S%z",
    " %H:%M:%S %z", " %H:%M:%S UTC", " %H:%M:%S GMT", ":%H:%M:%S %z", " %H:%M Uhr",
)  # fmt: skip
# What a date looks like at least: three numbers, eight digits, or a month in letters.
_LIKE_A_DATE = re.compile(
    r"\D*\d{1,4}[./ -]\d{1,2}([./ -]\d{1,4})?\b.*|\d{8}|.*[A-Za-z]{3,}[ ./-]*(\d{1,2},? )?\d{2,4}\b.*"
)
# Certainly dates, though maybe in a format, or with the months of a language, that is unknown here.
_CERTAINLY_A_DATE = re.compile(
    r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d{2})\b.*|\d{4}([./-])\d{1,2}\3\d{1,2}\b.*|"
    r"\d{1,2}[. /-]+[^\W\d_]{3,}[. /-]+\d{4}\b.*"
)


@dataclass(frozen=True)
class Doubt:
    """Another way to read a column.

    Attributes:
        read_as: How the guess reads a value.
        alternative: The other way in words.
        declared: Its declaration.
    """

    read_as: str
    alternative: str
    declared: dict[str, Any]

    def describe(self, name: str) -> str:
        """Say how column `name` is read, and what to declare for the other reading."""
        declared = json.dumps(self.declared, ensure_ascii=False)
        return (
            f"{self.read_as}; for the other reading ({self.alternative}), declare data_load.columns.{name}: {declared}"
        )


@dataclass
class ColumnGuess:
    """A guessed declaration.

    Attributes:
        declared: Properties, as in `data_load.columns`.
        why: The reason.
        is_group: Whether rows with the same value belong together, such as those of a patient.
        doubt: What to ask the user.
        problem: What the user should check; empty for nothing.
    """

    declared: dict[str, Any]
    why: str
    is_group: bool = False
    doubt: Doubt | None = None
    problem: str = ""


def guess_column(column: pd.Series, decimal: str = ".", *, has_codes: bool = False) -> ColumnGuess:
    """Guess the kind of a column.

    Args:
        column: Values as read from the file.
        decimal: Decimal mark of the file.
        has_codes: Whether the file has numbers with leading zeros in the column.
    """
    name, present = str(column.name), column.dropna()
    if not len(present):
        return ColumnGuess({"kind": "ignore"}, "no values")
    if holds_objects(column):
        return ColumnGuess({"kind": "ignore"}, "lists or other objects, which cannot be features")
    n_missing = len(column) - len(present)
    missing = f", {n_missing} of {len(column)} missing" if n_missing else ""
    guess = _guess_numbers(name, present, has_codes, not n_missing) if is_numeric_dtype(present) else None
    if guess is None and holds_text(present):
        guess = _guess_text(name, present, decimal)
    guess = guess or _guess_by_type(name, present)
    if holds_text(present) and guess.declared["kind"] not in ("date", "number", "ordinal", "boolean"):
        guess.problem = _find_problem(present)
    guess.why += missing
    return guess


def _guess_numbers(name: str, present: pd.Series, has_codes: bool, is_complete: bool) -> ColumnGuess | None:
    if is_bool_dtype(present):
        return None
    lowest, highest = present.min(), present.max()
    for unit, (first, last) in _EPOCHS.items():
        if first <= lowest and highest <= last and _EPOCH_NAME.fullmatch(_split_words(name)):
            begin = pd.Timestamp(int(lowest), unit=unit)
            words = {"s": "seconds", "ms": "milliseconds"}[unit]
            return ColumnGuess({"kind": "date", "epoch": unit}, f"{words} since 1970, from {begin:%Y-%m-%d}")
    is_whole = is_integer_dtype(present) or bool((present == present.round()).all())
    if not is_whole:
        return None
    n_levels = present.nunique()
    if has_codes:
        kind = "category" if n_levels <= MANY_LEVELS else "high_cardinality"
        return ColumnGuess({"kind": kind}, "codes with leading zeros")
    if lowest >= 19_000_101 and highest <= 21_001_231 and _fits(present.drop_duplicates(), {"format": "%Y%m%d"}):
        return ColumnGuess({"kind": "date", "format": "%Y%m%d"}, f"dates such as {int(present.iloc[0])}")
    if n_levels == len(present):
        if len(present) >= MIN_ROWS and (_is_id(name) or _is_group_name(name)):
            return ColumnGuess({"kind": "ignore"}, "an identifier by its name, different in each row")
        steps = present.astype(float).diff().dropna()
        # Years of a time series are in order, too.
        in_order = bool((steps == 1).all() or (steps == -1).all()) and not (lowest >= 1500 and highest <= 2200)
        if len(present) >= MIN_ROWS and in_order and is_complete and not _TIME.fullmatch(name):
            return ColumnGuess({"kind": "ignore"}, "the number of the row")
        return None
    return _guess_group(name, present, n_levels)


def _guess_text(name: str, present: pd.Series, decimal: str) -> ColumnGuess | None:
    levels = pd.Series(present.unique())
    if not isinstance(levels.dtype, pd.StringDtype) and not levels.map(lambda level: isinstance(level, str)).all():
        return None
    if are_booleans(levels):
        examples = ", ".join(map(str, levels.head(4)))
        return ColumnGuess({"kind": "boolean"}, f"{examples}")
    if len(levels) <= MANY_LEVELS and (order := find_order(levels.tolist())):
        shown = " < ".join(level[:20] for level in order[:4]) + (" < …" if len(order) > 4 else "")
        return ColumnGuess({"kind": "ordinal", "order": order}, f"levels in order: {shown}")
    digits = has_digits(levels)
    if digits and (guess := _guess_dates(present, levels)):
        return guess
    if digits and (found := find_number_format(levels, decimal)):
        if found.others:
            return None
        if not found.options and not levels.str.match(r"0\d").any():
            # Parquet and JSON may hold identifiers and seconds since 1970 as text.
            numbers = convert(present, {"kind": "number"})[0]
            if guess := _guess_numbers(name, numbers, has_codes=False, is_complete=True):
                return guess
        return _guess_formatted_numbers(levels, found.options, is_ambiguous=found.is_ambiguous)
    is_short = levels.head(1000).str.count(_WORD).mean() < 3
    if len(present) >= MIN_ROWS and len(levels) == len(present):
        if is_short:
            return ColumnGuess({"kind": "ignore"}, f"different in each row, such as {levels[0][:40]}")
        return ColumnGuess({"kind": "text"}, f"free text such as {levels[0][:40]}")
    if len(present) >= MIN_ROWS and is_short:
        return _guess_group(name, present, len(levels))
    return None


def _find_problem(present: pd.Series) -> str:
    """Describe text that is probably dates or amounts, but cannot be read as such."""
    levels = to_text(present.drop_duplicates().head(1000)).str.strip()
    example = f"such as {levels.iloc[0][:40]!r}"
    are_dates = levels.map(_CERTAINLY_A_DATE.fullmatch).notna()
    if are_dates.mean() >= MOSTLY and len(levels) > 2:
        if not are_dates.all():
            return f"most values are dates, but not all, such as {levels[~are_dates].iloc[0][:40]!r}"
        return f"dates, {example}, in no known format, or some are no dates; fix them, or declare their format"
    without = levels.str.replace(r"^[^\d\s]{1,3}\s*(?=\d)|(?<=\d)\s*[^\d\s]{1,4}$", "", regex=True)
    units = set(levels.str.replace(r"[\d\s.,'()+-]", "", regex=True))
    if 2 <= len(units) <= 5 and (without != levels).any() and find_number_format(without) is not None:
        return f"numbers in several units, {', '.join(sorted(unit or 'none' for unit in units))}; convert them to one"
    return ""


def _split_words(name: str) -> str:
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name)


def _guess_formatted_numbers(levels: pd.Series, options: dict[str, Any], *, is_ambiguous: bool) -> ColumnGuess:
    needed = r"\d[.,]\d{3}(?!\d)" if is_ambiguous else r"\D"
    example = str(next((level for level in levels if re.search(needed, str(level))), levels.iloc[0]))
    if not options and levels.astype(str).str.fullmatch(r"0\d+").any():
        return ColumnGuess(
            {"kind": "category" if len(levels) <= MANY_LEVELS else "high_cardinality"}, "codes with leading zeros"
        )
    declared = {"kind": "number", **options}
    value = convert(pd.Series([example]), declared)[0].iloc[0]
    why = f"numbers such as {example[:30]}, which is {value:.10g}"
    if not is_ambiguous:
        return ColumnGuess(declared, why)
    mark = re.sub(r"[^.,]", "", example)[:1] or ","
    other = {"decimal": mark} if options.get("thousands") == mark else {"decimal": OTHER_MARK[mark], "thousands": mark}
    other = {"kind": "number", **other, **{key: unit for key, unit in options.items() if key == "unit"}}
    instead = convert(pd.Series([example]), other)[0].iloc[0]
    return ColumnGuess(declared, why, doubt=Doubt(f"{example[:30]} is read as {value:.10g}", f"{instead:.10g}", other))


def _guess_by_type(name: str, present: pd.Series) -> ColumnGuess:
    try:
        kind = infer_kind(present, name)
    except DataError:
        return ColumnGuess({"kind": "high_cardinality"}, "numbers mixed with text, please check")
    if kind == "number":
        return ColumnGuess({"kind": kind}, f"{present.min():g} to {present.max():g}")
    if kind == "date":
        # strftime does not support all years.
        first, last = (str(date).partition(" ")[0] for date in (present.min(), present.max()))
        return ColumnGuess({"kind": kind}, f"{first} to {last}")
    if kind == "text":
        return ColumnGuess({"kind": kind}, f"free text such as {to_text(present).iloc[0][:40]}")
    if kind in ("category", "high_cardinality"):
        examples = ", ".join(str(level)[:20] for level in present.drop_duplicates().head(3))
        return ColumnGuess({"kind": kind}, f"{present.nunique()} levels such as {examples}")
    return ColumnGuess({"kind": kind}, f"{present.nunique()} values of type {present.dtype}")


def can_be_target(column: pd.Series) -> bool:
    """Return whether a column is worth predicting: not an identifier, a date or free text."""
    return column.nunique() < MIN_ROWS or guess_column(column).declared["kind"] not in ("ignore", "date", "text")


def _is_id(name: str) -> bool:
    return bool(_ID.fullmatch(name) or _ID.fullmatch(name.lower()))


def _is_group_name(name: str) -> bool:
    """Return whether a name says whom a row is about, such as `patient` or `customer_no`, but not `patient_age`."""
    *others, last = re.split(r"[^a-z]+", _split_words(name).lower())
    is_number_of = last in ("nr", "no", "number", "code", "key") and any(map(_GROUP.fullmatch, others))
    return last in ("id", "ids", "uuid", "guid") or bool(_GROUP.fullmatch(last)) or is_number_of


def _guess_group(name: str, present: pd.Series, n_levels: int) -> ColumnGuess | None:
    """Recognise the identifier of a patient, customer and so on, of whom there are a few rows each."""
    n_rows = len(present) / n_levels
    if n_levels < MIN_ROWS or not 1 < n_rows <= MAX_GROUP_ROWS:
        return None
    is_named = _is_group_name(name)
    # Without such a name, codes such as P001, or numbers called `nr`, of about as many rows each.
    sizes = present.value_counts()
    is_even = sizes.iloc[0] <= 2 * sizes.median() and sizes.median() >= 2
    is_code = holds_text(present) and present.drop_duplicates().head(1000).map(_CODE.fullmatch).notna().all()
    if not is_named and not (is_even and (is_code or _is_id(name))):
        return None
    return ColumnGuess({"kind": "ignore"}, f"an identifier of {n_levels} groups of rows", is_group=True)


def _guess_dates(present: pd.Series, levels: pd.Series) -> ColumnGuess | None:
    """Find the formats of dates: one for each shape of the text, such as `9.9.9` or `a 9, 9`."""
    texts = levels.str.strip()
    texts = texts[texts != ""].head(MAX_LEVELS)
    if not len(texts) or not texts.head(20).map(_LIKE_A_DATE.fullmatch).notna().all():
        return None
    shapes = texts.str.replace(r"\d+", "9", regex=True).str.replace(r"[^\W\d_]+", "a", regex=True)
    if shapes.nunique() > MAX_SHAPES:
        return None
    fitting = [_list_formats(texts[shapes == shape]) for shape in shapes.unique()]
    if not all(fitting):
        return None
    day_first = [next((form for form in forms if form.startswith(_DAYS)), forms[0]) for forms in fitting]
    month_first = [next((form for form in forms if form.startswith(_MONTHS)), forms[0]) for forms in fitting]
    why = f"dates such as {texts.iloc[0]}"
    if day_first == month_first:
        return ColumnGuess(_declare_dates(day_first), why)
    # A shape that fits one order only decides for all.
    if any(form.startswith(_MONTHS) for form in day_first) or any(form.startswith(_DAYS) for form in month_first):
        forms = month_first if any(form.startswith(_MONTHS) for form in day_first) else day_first
        return ColumnGuess(_declare_dates(forms), why)
    in_order = [_is_in_order(present, forms) for forms in (day_first, month_first)]
    if in_order[0] != in_order[1]:
        order = "day" if in_order[0] else "month"
        forms = day_first if in_order[0] else month_first
        return ColumnGuess(_declare_dates(forms), f"{why}, {order} first, because the rows are in this order")
    date = convert(texts.head(1), _declare_dates(day_first))[0].iloc[0]
    doubt = Doubt(f"{texts.iloc[0]} is read as {date.day} {date:%B %Y}", "month first", _declare_dates(month_first))
    return ColumnGuess(_declare_dates(day_first), f"{why}, day first", doubt=doubt)


def _list_formats(texts: pd.Series) -> list[str]:
    """List the formats that fit all texts of one shape."""
    # ISO 8601 includes times. Most formats do not fit the first text.
    forms = ["ISO8601", *(date + time for date in _DATES for time in _TIMES)]
    return [form for form in forms if _fits(texts.head(1), {"format": form}) and _fits(texts, {"format": form})]


def _fits(values: pd.Series, how: dict[str, Any]) -> bool:
    dates, invalid = convert(values.head(MAX_LEVELS), {"kind": "date", **how})
    return invalid is None and bool(dates.dt.year.between(1700, 2300).all())


def _declare_dates(forms: Sequence[str]) -> dict[str, Any]:
    unique = list(dict.fromkeys(forms))
    if unique == ["ISO8601"]:
        return {"kind": "date"}
    return {"kind": "date", "format": unique[0] if len(unique) == 1 else unique}


def _is_in_order(present: pd.Series, forms: Sequence[str]) -> bool:
    dates, _ = convert(present.head(1000), _declare_dates(forms))
    return bool(dates.nunique() > 2 and (dates.is_monotonic_increasing or dates.is_monotonic_decreasing))
