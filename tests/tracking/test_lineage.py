import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.errors import ConfigError
from src.tracking.cache import find_content, md5_of
from src.tracking.lineage import (
    StageEntry,
    flatten,
    get_param,
    observe_stage,
    read_lock,
    read_model_paths,
    read_stages,
)
from tests.tracking.workspace import dvc

ROOT = Path(__file__).parents[2]
ENTRY = StageEntry("cp a b", {"a": "1"}, {"params.yaml": {"size": 0.25}}, {"b": "2"})

Define = Callable[..., Any]


@pytest.fixture
def define(tmp_path: Path) -> Define:
    """Read the one stage of a `dvc.yaml`, given params and the rest of the stage."""

    def define_stage(params: dict[str, Any], /, **stage: Any) -> Any:
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"only": {"cmd": "true"} | stage}}))
        return read_stages(tmp_path)["only"]

    return define_stage


# --- dvc.yaml ---


def test_stages_come_in_the_order_of_the_file(repository: Path) -> None:
    assert list(read_stages(repository)) == ["data_split", "train"]


def test_stage_has_its_paths_filled_in(repository: Path) -> None:
    train = read_stages(repository)["train"]
    assert train.deps == ["fitted.joblib", "pictures", "scores.json", "data/train.parquet"]
    assert train.outs == ["models/model.joblib", "reports/metrics.json", "reports/train"]
    assert train.metrics == ["reports/metrics.json"]
    assert train.plots == ["reports/train"]
    assert train.params == {"params.yaml": ["split"]}
    assert "cp fitted.joblib models/model.joblib" in train.cmd


@pytest.mark.parametrize("value", ["text", 3, 0.25, 1e-05, True, False])
def test_values_are_filled_in_as_dvc_does(define: Define, value: object) -> None:
    from dvc.parsing.context import Context

    expected = Context(a={"b": value}).resolve_str("run --x ${a.b}")
    assert define({"a": {"b": value}}, cmd="run --x ${a.b}").cmd == expected


def test_several_values_are_filled_in_at_once(define: Define) -> None:
    params = {"a": {"b": {"c": "one"}}, "d": "two"}
    assert define(params, outs=["${a.b.c}/${ d }.csv"]).outs == ["one/two.csv"]


def test_value_is_filled_in_where_it_names_a_key(define: Define) -> None:
    stage = define({"p": "m.json", "e": "knn"}, metrics=[{"${p}": {"cache": False}}], params=["grid.${e}"])
    assert stage.metrics == ["m.json"]
    assert stage.params == {"params.yaml": ["grid.knn"]}


def test_filled_in_value_is_not_filled_in_again(define: Define) -> None:
    assert define({"a": "${b}", "b": "x"}, cmd="echo ${a}").cmd == "echo ${b}"


def test_outputs_of_any_kind_may_be_kept_by_git(define: Define) -> None:
    outs = ["a.parquet", {"schema.json": {"cache": False, "persist": True}}, {"b.parquet": {"persist": True}}]
    stage = define({}, outs=outs, metrics=[{"m.json": {"cache": False}}])
    assert stage.in_git == ["schema.json", "m.json"]


def test_params_of_another_file_are_kept_apart(define: Define) -> None:
    stage = define({}, params=["a", {"other.yaml": ["b", "c"]}, "d"])
    assert stage.params == {"params.yaml": ["a", "d"], "other.yaml": ["b", "c"]}


def test_dvc_yaml_without_stages_has_none(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "dvc.yaml").write_text("artifacts: {}\n")
    assert read_stages(tmp_path) == {}


def test_missing_dvc_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match=r"dvc\.yaml is missing"):
        read_stages(tmp_path)


def test_only_artifacts_of_type_model_are_models(repository: Path) -> None:
    assert read_model_paths(repository) == ["models/model.joblib"]


def test_pipeline_without_artifacts_has_no_models(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    assert read_model_paths(tmp_path) == []


# --- dvc.lock ---


def test_without_a_lock_nothing_was_produced(tmp_path: Path) -> None:
    assert read_lock(tmp_path) == {}


def test_lock_in_conflict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {}\n=======\n")
    with pytest.raises(ConfigError, match=r"dvc\.lock"):
        read_lock(tmp_path)


@pytest.mark.parametrize("stage", ["data_split", "train"])
def test_observed_entry_is_what_dvc_wrote(repository: Path, stage: str) -> None:
    observed, written = observe_stage(repository, read_stages(repository)[stage]), read_lock(repository)[stage]
    assert observed == written
    assert observed.digest == written.digest
    assert observed.digest is not None


@pytest.mark.parametrize("stage", ["data_load", "featurize", "data_split", "train", "evaluate"])
def test_committed_entry_has_the_shape_that_would_be_observed(stage: str) -> None:
    # Whether its values are those of now is for `dvc status` to say.
    observed, written = observe_stage(ROOT, read_stages(ROOT)[stage]), read_lock(ROOT)[stage]
    assert observed.cmd == written.cmd
    assert observed.outs.keys() == written.outs.keys()
    assert observed.params.keys() == written.params.keys()


def test_changed_param_changes_the_observed_entry(repository: Path) -> None:
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("0.25", "0.5"))
    assert observe_stage(repository, read_stages(repository)["train"]).digest != read_lock(repository)["train"].digest


def test_param_that_no_stage_declares_changes_no_entry(repository: Path) -> None:
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("INFO", "DEBUG"))
    for name, stage in read_stages(repository).items():
        assert observe_stage(repository, stage) == read_lock(repository)[name]


def test_entry_with_a_missing_file_has_no_digest(repository: Path) -> None:
    (repository / "models" / "model.joblib").unlink()
    entry = observe_stage(repository, read_stages(repository)["train"])
    assert entry.outs["models/model.joblib"] is None
    assert entry.digest is None


@pytest.mark.parametrize(
    "change",
    [{"cmd": "cp a c"}, {"deps": {"a": "3"}}, {"params": {"params.yaml": {"size": 0.5}}}, {"outs": {"c": "2"}}],
)
def test_digest_tells_entries_apart(change: dict[str, Any]) -> None:
    assert replace(ENTRY, **change).digest != ENTRY.digest


def test_digest_knows_no_order() -> None:
    one = replace(ENTRY, deps={"a": "1", "b": "2"}, params={"p": {"x": 1, "y": {"k": 1, "l": 2}}})
    other = replace(ENTRY, deps={"b": "2", "a": "1"}, params={"p": {"y": {"l": 2, "k": 1}, "x": 1}})
    assert one.digest == other.digest


# --- content ---


def test_hashes_are_dvcs_own(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    folder = tmp_path / "folder"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name, content in {
        "b": b"1", "a": b"2", "é ñ.txt": b"3", ".hidden": b"", "deep/z": b"4", "deep/deeper/a": b"5", "deep-er": b"6",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    (tmp_path / "text.csv").write_bytes(b"a,b\r\n1,2\r\n")
    (tmp_path / "empty.bin").touch()
    names = ["folder", "text.csv", "empty.bin"]
    dvc(tmp_path, "add", "--quiet", *names)
    outs = {name: yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"][0]["md5"] for name in names}
    assert {name: md5_of(tmp_path / name) for name in names} == outs
    assert outs["folder"].endswith(".dir")


def test_hash_of_a_large_file_is_the_plain_md5(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(content)
    assert md5_of(tmp_path / "large") == hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_link_is_hashed_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert md5_of(tmp_path / "link") == md5_of(tmp_path / "file")
    assert md5_of(tmp_path / "dangling") is None


def test_what_is_not_there_has_no_hash(tmp_path: Path) -> None:
    assert md5_of(tmp_path / "gone") is None


def test_content_is_found_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert find_content(tmp_path, tmp_path, "a", md5_of(tmp_path / "a")) == tmp_path / "a"


@pytest.mark.parametrize("now", ["changed", None])
def test_content_that_left_the_workspace_is_found_in_the_cache(repository: Path, now: str | None) -> None:
    path = repository / "data" / "train.parquet"
    md5, content = md5_of(path), path.read_bytes()
    path.unlink()
    if now:
        path.write_text(now)
    found = find_content(repository, repository, "data/train.parquet", md5)
    assert found is not None
    assert found != path
    assert found.read_bytes() == content


def test_content_of_an_experiment_is_found_in_the_cache_of_the_main_repository(repository: Path) -> None:
    md5 = md5_of(repository / "models" / "model.joblib")
    found = find_content(repository, repository / "deleted", "models/model.joblib", md5)
    assert found is not None
    assert md5_of(found) == md5


def test_damaged_cache_is_not_taken_for_the_content(tmp_path: Path) -> None:
    md5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    cached = tmp_path / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_text("damaged")
    assert find_content(tmp_path, tmp_path, "a", md5) is None
    cached.write_text("x")
    assert find_content(tmp_path, tmp_path, "a", md5) == cached


def test_content_without_a_hash_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert find_content(tmp_path, tmp_path, "a", None) is None


# --- settings ---


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", {"b": {"c": 1}, "n": None}),
        ("a.b.c", 1),
        ("a.b", {"c": 1}),
        ("a.n", None),
        ("l", [1, 2]),
        ("a.b.c.d", None),
        ("a.x", None),
        ("x.y", None),
        ("", None),
        ("l.x", None),
    ],
)
def test_param_is_looked_up_by_its_dotted_key(key: str, value: object) -> None:
    assert get_param({"a": {"b": {"c": 1}, "n": None}, "l": [1, 2]}, key) == value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"a": 1}, [("a", 1)]),
        ({"a": {"b": {"c": 1}, "d": [2]}}, [("a.b.c", 1), ("a.d", [2])]),
        ({"a": {}}, [("a", {})]),
        ({"a": {"b": {}}, "c": None}, [("a.b", {}), ("c", None)]),
        ({1: {2: "x"}}, [("1.2", "x")]),
    ],
)
def test_leaves_get_dotted_keys(values: dict[Any, Any], expected: list[tuple[str, Any]]) -> None:
    assert list(flatten(values)) == expected


def test_entry_can_be_written_as_json(repository: Path) -> None:
    for entry in read_lock(repository).values():
        assert json.loads(json.dumps(entry.params)) == entry.params
