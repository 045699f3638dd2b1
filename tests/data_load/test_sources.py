import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from src.config.data_load import DataLoad, DvcSource, FileSource, SklearnSource, Source, UrlSource
from src.data_load.sources import clean_column_name, load_source
from src.errors import DataError

Loaded = tuple[pd.DataFrame, dict[str, str]]
OLD = pd.DataFrame({"a": [1.0, 2.0], "species": ["x", "y"]})
NEW = pd.DataFrame({"a": [1.0, 2.0, 3.0], "species": ["x", "y", "z"]})
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keep git and DVC away from the developer's own configuration and caches."""
    folder = tmp_path_factory.mktemp("home")
    return {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_NO_ANALYTICS": "true",
    }


@pytest.fixture(autouse=True)
def _at_home(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in home.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory, home: dict[str, str]) -> Path:
    """Make a DVC repository whose table is OLD at the tag v1.0 and NEW afterwards."""
    root = tmp_path_factory.mktemp("repo")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}

    def run(*command: str) -> None:
        subprocess.run(command, cwd=root, env=env | home | IDENTITY, check=True, capture_output=True)

    run("git", "init", "--quiet", "--initial-branch", "main")
    run(sys.executable, "-m", "dvc", "init", "--quiet")
    (root / "data").mkdir()
    for table, message in ((OLD, "Old"), (NEW, "New")):
        table.to_parquet(root / "data" / "table.parquet")
        run(sys.executable, "-m", "dvc", "add", "--quiet", "data/table.parquet")
        run("git", "add", "--all")
        run("git", "commit", "--quiet", "--message", message)
        if message == "Old":
            run("git", "tag", "v1.0")
    return root


def dvc_source(repo: str | Path, path: str = "data/table.parquet", rev: str = "v1.0") -> DvcSource:
    return DvcSource(kind="dvc", path=path, repo=str(repo), rev=rev)


def commit_of(repo: Path, rev: str) -> str:
    return subprocess.run(
        ["git", "rev-parse", rev], cwd=repo, check=True, capture_output=True, text=True
    ).stdout.strip()


def load(source: Source, target_column: str = "species", path: str = "data/external") -> Loaded:
    settings = DataLoad(
        source=source,
        external_path=Path(path),
        columns={},
        missing_target="error",
        rows_per_part=10_000,
        dataset_path=Path("data/raw/dataset.parquet"),
        schema_path=Path("data/schema.json"),
    )
    table, origin = load_source(settings, target_column)
    with table:
        return table.parts[0].read(), origin


def sklearn_table(name: str, target_column: str = "target") -> pd.DataFrame:
    return load(SklearnSource.model_validate({"kind": "sklearn", "name": name}), target_column)[0]


def test_iris_has_clean_columns_and_class_names() -> None:
    table = sklearn_table("iris")
    assert list(table.columns) == ["sepal_length", "sepal_width", "petal_length", "petal_width", "target"]
    assert table["target"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}
    assert table.iloc[0].tolist() == [5.1, 3.5, 1.4, 0.2, "setosa"]


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("iris", (150, 5), {"setosa", "versicolor", "virginica"}),
        ("wine", (178, 14), {"class_0", "class_1", "class_2"}),
        ("breast_cancer", (569, 31), {"malignant", "benign"}),
        ("digits", (1797, 65), set("0123456789")),
    ],
)
def test_tables_of_scikit_learn_have_unique_identifiers_and_whole_columns(
    name: str, shape: tuple[int, int], classes: set[str]
) -> None:
    table = sklearn_table(name)
    assert table.shape == shape
    assert table.columns.is_unique
    assert [column for column in table.columns if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", column)] == []
    assert set(table["target"]) == classes
    assert int(table.isna().sum().sum()) == 0


def test_target_of_a_table_of_scikit_learn_gets_the_configured_name() -> None:
    assert list(sklearn_table("iris", "species").columns)[-1] == "species"


def test_target_must_not_replace_a_column_of_the_table() -> None:
    with pytest.raises(DataError, match="sepal_length"):
        sklearn_table("iris", "sepal_length")


def test_origin_of_a_table_of_scikit_learn_is_named() -> None:
    _, origin = load(SklearnSource(kind="sklearn", name="wine"), "target")
    assert origin == {"source.name": "sklearn.datasets.load_wine"}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("sepal length (cm)", "sepal_length"),
        ("Mean Radius", "mean_radius"),
        ("  spaced  ", "spaced"),
        ("od280/od315_of_diluted_wines", "od280_od315_of_diluted_wines"),
        ("already_clean", "already_clean"),
    ],
)
def test_titles_become_identifiers(title: str, name: str) -> None:
    assert clean_column_name(title) == name


def test_table_is_loaded_as_of_a_tag(repo: Path) -> None:
    table, _ = load(dvc_source(repo), "species")
    pd.testing.assert_frame_equal(table, OLD)


def test_table_is_loaded_as_of_a_branch_or_commit(repo: Path) -> None:
    pd.testing.assert_frame_equal(load(dvc_source(repo, rev="main"), "species")[0], NEW)
    pd.testing.assert_frame_equal(load(dvc_source(repo, rev=commit_of(repo, "v1.0")), "species")[0], OLD)


def test_origin_of_a_dvc_table_is_its_repository_revision_and_commit(repo: Path) -> None:
    _, origin = load(dvc_source(repo), "species")
    assert origin == {
        "source.url": str(repo),
        "source.rev": "v1.0",
        "source.commit": commit_of(repo, "v1.0"),
    }


def test_branch_is_recorded_by_its_commit(repo: Path) -> None:
    _, origin = load(dvc_source(repo, rev="main"), "species")
    assert origin["source.commit"] == commit_of(repo, "main") != commit_of(repo, "v1.0")


def test_source_can_be_this_repository(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    table, origin = load(dvc_source("."), "species")
    pd.testing.assert_frame_equal(table, OLD)
    assert origin["source.commit"] == commit_of(repo, "v1.0")


def test_loading_changes_nothing_in_the_repository(repo: Path) -> None:
    load(dvc_source(repo), "species")
    pd.testing.assert_frame_equal(pd.read_parquet(repo / "data" / "table.parquet"), NEW)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=repo, check=True, capture_output=True, text=True)
    assert status.stdout == ""


@pytest.mark.parametrize(
    ("path", "rev", "reason"),
    [
        ("data/table.parquet", "v9.9", "v9.9"),
        ("data/gone.parquet", "v1.0", "No such file"),
        (".dvc", "v1.0", "has no Parquet files"),
    ],
)
def test_wrong_revision_or_path_is_reported_in_one_line(repo: Path, path: str, rev: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        load(dvc_source(repo, path, rev), "species")
    message = str(caught.value)
    assert message.startswith(f"data_load.source: cannot read {path} of {repo} at {rev} (")
    assert message.endswith("); check path, repo and rev.")
    assert reason in message
    assert "\n" not in message


def test_file_that_is_not_parquet_is_refused(repo: Path) -> None:
    with pytest.raises(DataError, match=r"^data_load\.source: cannot read data/table\.parquet\.dvc of "):
        load(dvc_source(repo, "data/table.parquet.dvc"), "species")


def test_wrong_repository_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(dvc_source(tmp_path / "gone"), "species")
    message = str(caught.value)
    assert message.startswith(f"data_load.source: cannot read data/table.parquet of {tmp_path / 'gone'} at v1.0 (")
    # DVC itself says only "SCM error"; the reason is in the cause.
    assert "clone" in message


def test_folder_that_is_not_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a git repository"):
        load(dvc_source(tmp_path), "species")


def test_numeric_target_of_a_table_of_scikit_learn_is_kept() -> None:
    table = sklearn_table("diabetes")
    assert table.shape == (442, 11)
    assert table["target"].tolist()[:3] == [151.0, 75.0, 141.0]


def test_folder_of_parts_in_a_dvc_repository_is_one_table(repo: Path) -> None:
    pd.testing.assert_frame_equal(load(dvc_source(repo, "data"), "species")[0], OLD)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a repository with one CSV in data/external."""
    folder = tmp_path / "repository"
    (folder / "data" / "external").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "data" / "external" / "t.csv").write_text("a,species\n1,x\n2,y\n")
    return folder


FILE = FileSource(kind="file")
URL = UrlSource(kind="url", url="https://example.org/t.csv")


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        (FILE, {"source.path": "data/external/t.csv"}),
        (URL, {"source.path": "data/external/t.csv", "source.url": "https://example.org/t.csv"}),
    ],
)
@pytest.mark.usefixtures("here")
def test_file_is_loaded_with_its_origin(source: Source, origin: dict[str, str]) -> None:
    table, found = load(source, path="data/external/t.csv")
    assert table.to_dict("list") == {"a": [1, 2], "species": ["x", "y"]}
    assert found == origin


@pytest.mark.parametrize(
    ("source", "name", "command"),
    [
        (FILE, "gone.csv", "`dvc add data/external/gone.csv`"),
        (FILE, "gone ü.csv", "`dvc add 'data/external/gone ü.csv'`"),
        (URL, "gone.csv", "`dvc import-url https://example.org/t.csv data/external/gone.csv`"),
    ],
)
@pytest.mark.usefixtures("here")
def test_error_about_a_missing_file_gives_the_command_that_adds_it(source: Source, name: str, command: str) -> None:
    with pytest.raises(DataError) as caught:
        load(source, path=f"data/external/{name}")
    assert str(caught.value).startswith(f"data/external/{name} is missing; ")
    assert command in str(caught.value)


def test_error_about_a_missing_file_of_dvc_gives_the_command_that_restores_it(here: Path) -> None:
    (here / "data/external/gone.csv.dvc").touch()
    with pytest.raises(DataError, match=r"is missing; restore it: `dvc checkout data/external/gone\.csv\.dvc`, or"):
        load(FILE, path="data/external/gone.csv")


def test_link_to_a_file_outside_of_the_repository_is_refused(here: Path) -> None:
    outside = here.parent / "secret.csv"
    outside.write_text("a,species\n1,x\n")
    Path("data/external/link.csv").symlink_to(outside)
    with pytest.raises(
        DataError, match=r"^data/external/link\.csv is outside of the repository, at .*secret\.csv, so "
    ):
        load(FILE, path="data/external/link.csv")


def test_link_to_a_folder_outside_of_the_repository_is_refused(here: Path) -> None:
    (here.parent / "parts").mkdir()
    OLD.to_parquet(here.parent / "parts" / "1.parquet")
    Path("data/external/parts").symlink_to(here.parent / "parts")
    with pytest.raises(DataError, match="is outside of the repository"):
        load(FILE, path="data/external/parts")


def test_link_to_a_part_outside_of_the_repository_is_refused(here: Path) -> None:
    Path("data/external/parts").mkdir()
    OLD.to_parquet(here.parent / "1.parquet")
    Path("data/external/parts/1.parquet").symlink_to(here.parent / "1.parquet")
    with pytest.raises(DataError, match=r"^data/external/parts/1\.parquet is outside of the repository"):
        load(FILE, path="data/external/parts")


def test_link_into_a_shared_dvc_cache_is_followed(here: Path) -> None:
    cached = here.parent / "cache" / "files" / "md5" / "0a" / ("b" * 30)
    cached.parent.mkdir(parents=True)
    Path("data/external/t.csv").rename(cached)
    Path("data/external/t.csv").symlink_to(cached)
    assert len(load(FILE, path="data/external/t.csv")[0]) == 2
