import pandas as pd
import pytest

from src.tracking.process import cpu_model
from src.versions.comparison import Difference, compare_tables
from src.versions.references import Record
from src.versions.reproduce import is_reproduced, tell

TABLE = pd.DataFrame({"size": [1.0, 2.0, None], "color": ["red", None, "green"]})


@pytest.mark.parametrize(
    ("made", "words", "is_close"),
    [
        (TABLE.copy(), "equal values, other bytes", True),
        (TABLE.assign(size=[1.0, 2.0 + 1e-9, None]), "size in 1 of 3 rows, by at most 1e-09", True),
        (TABLE.assign(size=[1.0, 2.5, None]), "size in 1 of 3 rows, by at most 0.5", False),
        (TABLE.assign(size=[1.0, 2.0, 3.0]), "size in 1 of 3 rows, which one of them lacks", False),
        (TABLE.assign(color=["red", None, "blue"]), "color in 1 of 3 rows", False),
        (TABLE.head(2), "2 rows instead of 3", False),
        (TABLE.rename(columns={"size": "length"}), "other columns: length, size", False),
        (TABLE[["color", "size"]], "other columns: in another order", False),
    ],
)
def test_tables_differ_by_words_and_are_close_only_within_the_tolerance(
    made: pd.DataFrame, words: str, is_close: bool
) -> None:
    told, close = compare_tables(TABLE, made, tolerance=1e-6)
    assert told.startswith(words)
    assert close == is_close


MODEL = Difference("models/model.joblib", "differs", True, None)
SCORE = Difference("test_log_loss", "0.16 instead of 0.16", False, True)
LOST = Difference("models/model.joblib", "was not made", True, False)


@pytest.mark.parametrize(
    ("cpu", "differences", "is_same"),
    [
        (None, [], True),
        (cpu_model(), [SCORE], False),
        (None, [MODEL], False),
        ("Another Chip", [MODEL, SCORE], True),
        ("Another Chip", [LOST], False),
        ("Another Chip", [Difference("test_f1_macro", "0.5 instead of 0.9", False, False)], False),
    ],
)
def test_bytes_must_be_equal_on_this_cpu_and_numbers_be_close_on_another(
    cpu: str | None, differences: list[Difference], is_same: bool
) -> None:
    record = Record("c0ffee", {"models/model.joblib": "1" * 32, "a.png": "2" * 32}, {}, cpu)
    assert is_reproduced(record, differences) == is_same
    text = tell(record, differences)
    assert ("\nreproduced: " in "\n" + text) == is_same
    assert ("another kind of CPU (Another Chip" in text) == (cpu == "Another Chip")
    n_equal = 2 - sum(difference.is_output for difference in differences)
    assert f"{n_equal} of 2 outputs equal to the byte" in text
