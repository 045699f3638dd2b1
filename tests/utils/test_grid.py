import re
import subprocess
from pathlib import Path

import pytest

from src.errors import ConfigError
from src.utils.grid import MAX_NAME, Trial, expand

PARAMS = Path(__file__).parent / "params.yaml"
LONG = "x" * 500


def names(grid: str, taken: tuple[str, ...] = ()) -> list[str]:
    return [trial.name for trial in expand(grid, PARAMS, taken)]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ("train.cv=3", ["cv3"]),
        ("train.estimator=knn,logreg train.cv=3,5", ["knn-cv3", "knn-cv5", "logreg-cv3", "logreg-cv5"]),
        ("train.cv='range(3,6)'", ["cv3", "cv4", "cv5"]),
        ("train.estimator=[knn,svm],logreg", ["knn+svm", "logreg"]),
        ("train.param_grid.logreg.C=[0.1,10],[2]", ["C_0.1+10", "C_2"]),
        ("train.search={kind:grid},{kind:none}", ["search_kind-grid", "search_kind-none"]),
        ("tracking.enabled=true,false", ["enabled_true", "enabled_false"]),
        ("""base.target_column='"a b, c",d'""", ["a-b-c", "d"]),
        # One value of two settings.
        ("data_split.checks.leak=warn,error data_split.checks.constant=warn",
         ["leak_warn-constant_warn", "error-constant_warn"]),
        ("train.cv=3,3,4", ["cv3", "cv4"]),
    ],
)  # fmt: skip
def test_names_are_made_of_the_values(grid: str, expected: list[str]) -> None:
    assert names(grid) == expected


def test_setting_is_named_by_as_many_words_as_it_needs() -> None:
    grid = "train.param_grid.logreg.C=[1],[2] +train.param_grid.svm.C=[1],[2]"
    trials = expand(grid, PARAMS)
    assert [list(trial.settings) for trial in trials] == [["logreg.C", "svm.C"]] * 4
    assert trials[1].name == "logreg.C_1-svm.C_2"
    assert trials[1].settings == {"logreg.C": "[1]", "svm.C": "[2]"}


@pytest.mark.parametrize("value", [LONG, "a..b", ".lock", "-x", "x.lock", "..", '\\"<script>$(rm)\\"', "{x:y z}"])
def test_any_value_makes_a_short_name_that_git_accepts(value: str) -> None:
    (name, other) = names(f"""base.target_column='"{value}",other'""")
    assert re.fullmatch(r"[A-Za-z0-9_.+-]+", name)
    assert len(name) <= MAX_NAME
    assert other == "other"
    subprocess.run(["git", "check-ref-format", f"refs/exps/ab/cd/{name}"], check=True)


def test_equal_names_and_names_of_branches_get_a_suffix() -> None:
    twins = names("""base.target_column='"a b","a,b"'""")
    assert [re.sub("[0-9a-f]{8}$", "", name) for name in twins] == ["a-b-", "a-b-"]
    assert len(set(twins)) == 2
    assert re.fullmatch("knn-[0-9a-f]{8}", names("train.estimator=knn", taken=("knn",))[0])
    assert twins == names("""base.target_column='"a b","a,b"'""")


def test_each_combination_has_its_checked_settings() -> None:
    first, second = expand("train.cv=3,4", PARAMS)
    assert isinstance(first, Trial)
    assert (first.config.train.cv, second.config.train.cv) == (3, 4)
    assert second.overrides == ["train.cv=4"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("", "GRID is empty; name settings and their values, such as GRID="),
        ("  ", "GRID is empty"),
        ("train.cvv=3", "GRID: params.yaml has no setting 'train.cvv'; did you mean train.cv?"),
        ("zzz=3", "GRID: params.yaml has no setting 'zzz'; a new one needs a plus sign"),
        ("=3", "GRID: params.yaml has no setting ''"),
        ("train.cv.x=3", "GRID: params.yaml has no setting 'train.cv.x'"),
        ("train.cv=1,3", "params.yaml with train.cv=1: train.cv = 1: must be greater than or equal to 2."),
        ("train.cv=three", "params.yaml with train.cv=three: train.cv = 'three': "),
        ("+train.cvv=3", "params.yaml with +train.cvv=3: train.cvv = 3 is unknown; did you mean cv?"),
        ("train.estimator=rf", "'rf' is unknown; choose"),
        ("train.scoring=r2", "train.scoring = 'r2' is unknown for classification"),
        ("train.cv", "GRID cannot be read: Error parsing override 'train.cv' missing EQUAL"),
        ("train.cv='3", "GRID cannot be read: No closing quotation"),
        ("train.cv=3,,4", "GRID cannot be read: Error parsing override"),
        ("train.cv=glob(*)", "GRID cannot be read: Glob override"),
        ("train.cv=interval(1,2)", "GRID cannot be read: BasicSweeper does not support"),
        ("train.cv='range(3,5,0)'", "GRID cannot be read: "),
        ("train.cv='range(2,999999999)'", "GRID has more than 100 combinations"),
        ("train.cv='range(2,13)' base.random_state='range(1,11)'", "GRID has more than 100 combinations"),
        ("train.cv=3 train.cv=4", "GRID has train.cv twice"),
        ("other.yaml:x=1", "GRID can change only params.yaml, not other.yaml."),
        ("train.cv=${nope}", "Interpolation key 'nope' not found"),
        (f"{LONG}=1", "GRID: params.yaml has no setting 'xxx"),
        (f"train.cv={LONG}", "train.cv = 'xxx"),
    ],
)  # fmt: skip
def test_wrong_grid_is_explained_in_one_line(grid: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        expand(grid, PARAMS)
    text = str(raised.value)
    assert message in text
    assert "\n" not in text
    assert len(text) < 600
