import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from src.config.load import load_config
from src.config.schema import Config

ROOT = Path(__file__).parents[2]
ROWS = pd.DataFrame(
    {
        "a b": [1.5, 2.5, None, 4.5] * 10,
        "town": ["Bonn", "Ulm", "None", "Köln"] * 10,
        "day": ["31.01.2024", "01.02.2024"] * 20,
        "species": ["x", "y"] * 20,
    }
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with the settings of this one, and one table outside of it."""
    root = tmp_path_factory.mktemp("template")
    (root / "data" / "external").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", root)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, env=env, check=True, capture_output=True)
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "repo")
    ROWS.to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "repo"


def new_data(repo: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "true"}
    result = subprocess.run(
        [sys.executable, "-m", "src.new_data", *arguments],
        cwd=repo,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    return result


def state(repo: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in repo.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)}


def settings(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(repo)
    return load_config(Path("params.yaml"))


def test_guesses_and_reasons_are_shown_and_nothing_is_written_without_a_yes(repo: Path) -> None:
    before = state(repo)
    result = new_data(repo, "--file", "../own.csv", code=2)
    assert "target  species: it is named like a target" in result.stdout
    assert "task    classification: 2 different texts" in result.stdout
    assert "town  category          4 levels, as Bonn, Ulm, None" in result.stdout
    assert "day   date              dates, as 31.01.2024" in result.stdout
    assert "    a b: {kind: number}" in result.stdout
    assert "DataError: nothing is written without a yes: copy ../own.csv to data/external/own.csv" in result.stderr
    assert state(repo) == before


def test_yes_copies_tracks_and_writes_and_keeps_the_comments(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = (repo / "params.yaml").read_text(encoding="utf-8")
    new_data(repo, "--file", "../own.csv", "--yes")
    config = settings(repo, monkeypatch)
    assert config.base.target_column == "species"
    assert config.data_load.external_path == Path("data/external/own.csv")
    assert config.declared_columns == {
        "a b": {"kind": "number"},
        "town": {"kind": "category"},
        "day": {"kind": "date", "format": "%d.%m.%Y"},
    }
    assert config.featurize.features == {}
    assert (repo / "data/external/own.csv").read_bytes() == (repo.parent / "own.csv").read_bytes()
    assert (repo / "data/external/own.csv.dvc").exists()
    new = (repo / "params.yaml").read_text(encoding="utf-8")
    assert [line for line in old.splitlines() if line.startswith("#")] == [
        line for line in new.splitlines() if line.startswith("#")
    ]
    assert "  test_size: 0.2              # share of rows, or of groups, kept for the test" in new


def test_commands_to_type_next_take_a_name_with_blanks(repo: Path) -> None:
    name = "kunden übersicht.csv"
    (repo.parent / "own.csv").rename(repo.parent / name)
    result = new_data(repo, "--file", f"../{name}", "--yes")
    (command,) = re.findall("`(git add .*?)`", result.stdout)
    subprocess.run(shlex.split(command), cwd=repo, check=True)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=repo, check=True, capture_output=True, text=True).stdout
    assert f"data/external/{name}.dvc" in tracked.split("\0")


def test_file_that_is_in_its_place_is_not_copied(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(repo.parent / "own.csv", repo / "data/external/here.csv")
    result = new_data(repo, "--file", "data/external/here.csv", "--yes")
    assert "copy" not in result.stdout
    assert settings(repo, monkeypatch).data_load.external_path == Path("data/external/here.csv")


def test_link_has_its_own_name_and_place(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = repo.parent / "files" / "0123456789abcdef"
    cached.parent.mkdir()
    (repo.parent / "own.csv").rename(cached)
    (repo.parent / "linked.csv").symlink_to(cached)
    new_data(repo, "--file", "../linked.csv", "--yes")
    path = repo / "data/external/linked.csv"
    assert settings(repo, monkeypatch).data_load.external_path == Path("data/external/linked.csv")
    assert path.read_bytes() == cached.read_bytes()
    # A link in data/external is in its place, though its target is not.
    path.unlink()
    path.symlink_to(cached)
    assert "copy" not in new_data(repo, "--file", "data/external/linked.csv", code=2).stderr
    # A link to that place from elsewhere is not.
    (repo.parent / "other.csv").symlink_to(path)
    assert "copy ../other.csv to data/external/other.csv" in new_data(repo, "--file", "../other.csv", code=2).stderr


def test_file_that_would_be_replaced_is_told(repo: Path) -> None:
    (repo / "data/external/own.csv").write_text("older")
    result = new_data(repo, "--file", "../own.csv", code=2)
    assert "copy ../own.csv to data/external/own.csv, which replaces data/external/own.csv" in result.stderr
    assert (repo / "data/external/own.csv").read_text() == "older"


def test_number_to_predict_sets_training_for_a_regression(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ROWS.assign(price=[0.5 * row for row in range(40)]).to_csv(repo.parent / "own.csv", index=False)
    new_data(repo, "--file", "../own.csv", "--target", "price", "--yes")
    config = settings(repo, monkeypatch)
    assert (config.base.task, config.base.target_column) == ("regression", "price")
    assert (config.train.estimator, config.train.scoring, config.data_split.split.kind) == ("ridge", "r2", "random")


def test_comments_are_true_beside_the_new_values(repo: Path) -> None:
    ROWS.assign(price=[0.5 * row if row else None for row in range(40)]).to_csv(repo.parent / "own.csv", index=False)
    new_data(repo, "--file", "../own.csv", "--target", "price", "--yes")
    text = (repo / "params.yaml").read_text(encoding="utf-8")
    assert "task: regression " in text
    assert "missing_target: drop " in text
    # `regression  # or regression` would offer what is there.
    assert [line for line in text.splitlines() if "# or " in line] == []


def test_settings_of_the_same_task_keep_their_training(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repo / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("scoring: f1_macro", "scoring: accuracy"))
    new_data(repo, "--file", "../own.csv", "--yes")
    assert settings(repo, monkeypatch).train.scoring == "accuracy"


def test_wide_table_declares_only_what_is_no_number(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = pd.DataFrame({f"x{position}": [0.5, 1.5] * 20 for position in range(60)}).assign(
        town=ROWS["town"], species=ROWS["species"]
    )
    wide.to_csv(repo.parent / "own.csv", index=False)
    result = new_data(repo, "--file", "../own.csv", "--yes")
    assert "and 11 more" in result.stdout
    assert settings(repo, monkeypatch).declared_columns == {"town": {"kind": "category"}}


@pytest.fixture
def address(repo: Path) -> Iterator[str]:
    """Serve the table on loopback."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(repo.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/own.csv"
    server.shutdown()
    server.server_close()
    thread.join()


def test_url_is_imported_by_dvc_and_becomes_the_source(
    repo: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_data(repo, "--url", address, "--yes")
    config = settings(repo, monkeypatch)
    assert config.data_load.source.model_dump(exclude_unset=True) == {"kind": "url", "url": address}
    assert (repo / "data/external/own.csv").read_bytes() == (repo.parent / "own.csv").read_bytes()
    assert address in (repo / "data/external/own.csv.dvc").read_text()


def test_nothing_is_downloaded_without_a_yes(repo: Path, address: str) -> None:
    before = state(repo)
    result = new_data(repo, "--url", address, code=2)
    assert f"nothing is written without a yes: download {address} to data/external/own.csv?" in result.stderr
    assert state(repo) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--file", "gone.csv"), "DataError: gone.csv is missing."),
        (("--file", "../own.csv", "--target", "gone"), "DataError: TARGET = 'gone' is not in the table; it has a b, "),
        (("--file", "params.yaml"), "DataError: params.yaml: unknown file type"),
        (("--url", "https://user:secret@example.org/t.csv"), "DataError: URL must hold no credentials"),
        (("--url", "https://example.org/?sig=secret"), "DataError: URL must hold no credentials"),
        (("--url", "https://example.org/"), "DataError: https://example.org/ does not end in the name of a file."),
    ],
)
def test_table_that_cannot_be_used_is_one_line(repo: Path, arguments: tuple[str, ...], told: str) -> None:
    before = state(repo)
    result = new_data(repo, *arguments, "--yes", code=2)
    assert told in result.stderr.splitlines()[-1]
    assert "secret" not in result.stderr
    assert state(repo) == before
