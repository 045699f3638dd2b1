import json
from pathlib import Path

import pandas as pd
import pytest

from src.errors import MissingInputError
from src.report.inputs import read_candidates, read_cv_metrics, read_md5s


def test_null_is_a_value_of_a_parameter_and_an_empty_cell_is_not(tmp_path: Path) -> None:
    path = tmp_path / "cv_results.csv"
    path.write_text("estimator,max_depth,metric,n_rows,mean,std,rank\nknn,null,,1,0.5,0.1,1\nknn,,nan,2,0.4,0.1,2\n")
    candidates = read_candidates(path)
    assert candidates["max_depth"].isna().tolist() == [False, True]
    assert candidates["metric"].isna().tolist() == [True, False]
    assert (candidates["max_depth"][0], candidates["metric"][1]) == ("null", "nan")


def test_empty_file_of_candidates_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "cv_results.csv").touch()
    pd.testing.assert_frame_equal(read_candidates(tmp_path / "cv_results.csv"), pd.DataFrame())


@pytest.mark.parametrize("content", [None, "{", "[]", "null", '{"a": "x"}', "[" * 100_000])
def test_missing_or_damaged_scores_name_the_stage_that_makes_them(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cv_metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MissingInputError, match="stage train makes it"):
        read_cv_metrics(path)
    path.write_text(json.dumps({"cv_r2_mean": 0.5}))
    assert read_cv_metrics(path) == {"cv_r2_mean": 0.5}


LOCK = """
schema: '2.0'
stages:
  data_split:
    cmd: make a
    deps: [{path: c, hash: md5, md5: cc, size: 1}]
    outs: [{path: a, hash: md5, md5: aa, size: 1}, {path: parts, hash: md5, md5: bb.dir, size: 7, nfiles: 2}]
  evaluate@1: {cmd: none}
  train:
    cmd: make b
    outs: [{path: b, hash: md5, md5: dd, size: 2}]
"""


@pytest.mark.parametrize(("lock", "expected"), [(LOCK, {"a": "aa", "parts": "bb.dir"}), ("", {}), (None, {})])
def test_md5s_are_those_of_dvc_lock(
    lock: str | None, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # DVC recorded another file in place of `b`, and `c` is no output.
    for name in "abc":
        Path(name).write_text("x")
    Path("parts").mkdir()
    if lock is not None:
        Path("dvc.lock").write_text(lock)
    assert read_md5s([Path("a"), Path("b"), Path("c"), Path("parts")]) == expected
