import io
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.new_data.__main__ import describe, main, propose
from src.new_data.guess import guess_table

ROOT = Path(__file__).parents[2]
ROWS = pd.DataFrame(
    {
        "a b": [1.5, 2.5, None, 4.5] * 10,
        "town": ["Bonn", "Ulm", "None", "Köln"] * 10,
        "day": ["31.01.2024", "01.02.2024"] * 20,
        "species": ["x", "y"] * 20,
    }
)
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with the settings of this one."""
    root = tmp_path_factory.mktemp("template")
    (root / "data" / "external").mkdir(parents=True)
    (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, env=env, check=True, capture_output=True)
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the repository, with a table outside of it."""
    shutil.copytree(template, tmp_path / "repo")
    ROWS.to_csv(tmp_path / "own.csv", index=False)
    monkeypatch.chdir(tmp_path / "repo")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    return tmp_path / "repo"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo what the command sets up, so that other tests can catch log lines."""
    loggers = [logging.getLogger(name) for name in ("src", "__main__")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def new_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command and return its stdout and stderr; `answer` is typed on a terminal."""

    def run(*arguments: str, code: int = 0, answer: str | None = None) -> tuple[str, str]:
        typed = io.StringIO(answer or "")
        monkeypatch.setattr(typed, "isatty", lambda: answer is not None, raising=False)
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(sys, "argv", ["new_data", *arguments])
        capfd.readouterr()
        found = main()
        output = capfd.readouterr()
        assert found == code, output.err
        return output.out, output.err

    return run


def state(repo: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in repo.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)}


def test_guess_is_shown_and_nothing_is_written_without_a_terminal(repo: Path, new_data: Run) -> None:
    before = state(repo)
    out, err = new_data("--file", "../own.csv", code=2)
    assert out.startswith("../own.csv: 40 rows × 4 columns\n  target  species: its name is typical of a target\n")
    assert "New lines of params.yaml:\n\n    target_column: species " in out
    assert "\n      a b: {kind: number} " in out
    assert "random_state" not in out
    assert err == (
        "DataError: nothing was written: copy ../own.csv to data/external/own.csv, "
        "track data/external/own.csv with DVC, write params.yaml? "
        "Run this in a terminal, or agree with `make new-data … YES=1`.\n"
    )
    assert state(repo) == before


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_written_without_consent(repo: Path, new_data: Run, answer: str) -> None:
    before = state(repo)
    _, err = new_data("--file", "../own.csv", answer=answer, code=2)
    assert err.endswith("write params.yaml? [y/N] DataError: nothing was written.\n")
    assert state(repo) == before


def test_consent_copies_tracks_and_writes_and_keeps_comments(repo: Path, new_data: Run) -> None:
    new_data("--file", "../own.csv", answer="y\n")
    config = load_config(Path("params.yaml"))
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
    assert "  test_size: 0.2              # fraction of rows (or groups) in the test set" in new


def test_suggested_command_works_for_a_name_with_spaces(repo: Path, new_data: Run) -> None:
    name = "kunden übersicht.csv"
    (repo.parent / "own.csv").rename(repo.parent / name)
    out, _ = new_data("--file", f"../{name}", "--yes")
    (command,) = re.findall("`(git add .*?)`", out)
    subprocess.run(shlex.split(command), check=True)
    tracked = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    assert f"data/external/{name}.dvc" in tracked.split("\0")


DAYS = [f"{day:02d}/{month:02d}/2024" for month in (3, 1, 2) for day in (5, 1, 9, 12)]


@pytest.mark.parametrize(("answer", "form"), [("y\ny\n", "%m/%d/%Y"), ("\ny\n", "%d/%m/%Y")])
def test_order_of_day_and_month_is_asked(repo: Path, new_data: Run, answer: str, form: str) -> None:
    ROWS.assign(day=(DAYS * 4)[:40]).to_csv(repo.parent / "own.csv", index=False)
    _, err = new_data("--file", "../own.csv", answer=answer)
    assert "column 'day': 05/03/2024 is read as 5 March 2024. Use the other reading instead (month first)? [y/N]" in err
    assert load_config(Path("params.yaml")).declared_columns["day"] == {"kind": "date", "format": form}


def test_doubt_that_is_not_asked_about_is_noted(repo: Path, new_data: Run) -> None:
    ROWS.assign(day=(DAYS * 4)[:40]).to_csv(repo.parent / "own.csv", index=False)
    out, _ = new_data("--file", "../own.csv", "--yes")
    assert (
        "  note: column 'day': 05/03/2024 is read as 5 March 2024; for the other reading (month first), declare "
        'data_load.columns.day: {"kind": "date", "format": "%m/%d/%Y"}'
    ) in out


def test_file_in_data_external_is_not_copied(repo: Path, new_data: Run) -> None:
    shutil.copy(repo.parent / "own.csv", repo / "data/external/here.csv")
    _, err = new_data("--file", "data/external/here.csv", code=2)
    assert "nothing was written: track data/external/here.csv with DVC, write params.yaml?" in err


def test_link_keeps_its_own_name(repo: Path, new_data: Run) -> None:
    cached, path = repo.parent / "files" / "0123456789abcdef", repo / "data/external/linked.csv"
    cached.parent.mkdir()
    (repo.parent / "own.csv").rename(cached)
    (repo.parent / "linked.csv").symlink_to(cached)
    assert "copy ../linked.csv to data/external/linked.csv, track" in new_data("--file", "../linked.csv", code=2)[1]
    # A link in data/external is not copied, although its target is elsewhere.
    path.symlink_to(cached)
    assert "copy" not in new_data("--file", "data/external/linked.csv", code=2)[1]
    # A link from elsewhere to data/external is copied.
    (repo.parent / "other.csv").symlink_to(path)
    assert "copy ../other.csv to data/external/other.csv" in new_data("--file", "../other.csv", code=2)[1]


def test_file_that_would_be_replaced_is_named(repo: Path, new_data: Run) -> None:
    (repo / "data/external/own.csv").write_text("older")
    _, err = new_data("--file", "../own.csv", code=2)
    assert "copy ../own.csv to data/external/own.csv, which replaces data/external/own.csv, track" in err


def test_folder_of_parts_is_copied_unless_there_is_one(repo: Path, new_data: Run) -> None:
    folder = repo.parent / "parts"
    folder.mkdir()
    ROWS.to_parquet(folder / "1.parquet")
    new_data("--file", str(folder), "--yes")
    assert (repo / "data/external/parts/1.parquet").read_bytes() == (folder / "1.parquet").read_bytes()
    _, err = new_data("--file", str(folder), "--yes", code=2)
    assert err.endswith("DataError: data/external/parts already exists; move it away first.\n")


def test_home_folder_is_expanded(repo: Path, new_data: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(repo.parent))
    assert "own.csv to data/external/own.csv" in new_data("--file", "~/own.csv", code=2)[1]


def proposed(tmp_path: Path, rows: pd.DataFrame, target: str, text: str = PARAMS) -> tuple[str, Config]:
    """Return the settings that are proposed for a table, as text and as loaded."""
    rows.to_csv(tmp_path / "t.csv", index=False)
    guess = guess_table(tmp_path / "t.csv", target)
    new = propose(text, guess, Path("data/external/t.csv"), None)
    (tmp_path / "params.yaml").write_text(new, encoding="utf-8")
    return new, load_config(tmp_path / "params.yaml")


def test_numeric_target_sets_up_a_regression(tmp_path: Path) -> None:
    text = PARAMS.replace("class_weight: none", "class_weight: balanced")
    new, config = proposed(tmp_path, ROWS.assign(price=[None, *range(1, 40)]), "price", text)
    assert (config.base.task, config.base.target_column, config.data_split.split.kind) == (
        "regression", "price", "random"
    )  # fmt: skip
    assert (config.train.estimator, config.train.scoring, config.train.class_weight) == (["auto"], "r2", "none")
    assert config.data_load.missing_target == "drop"
    changed = [line for line in new.splitlines() if line not in PARAMS.splitlines()]
    assert [
        line for line in changed if re.match("  (task|split|scoring|missing_target):", line) and "#" not in line
    ] == []


def test_settings_of_the_former_table_are_reset(tmp_path: Path) -> None:
    text = PARAMS.replace("scoring: f1_macro", "scoring: accuracy").replace(
        "{kind: stratified}", "{kind: group, column: x}"
    )
    text = text.replace("class_weight: none", "class_weight: balanced").replace("positive: null", "positive: spam")
    _, config = proposed(tmp_path, ROWS, "species", text)
    assert (config.train.scoring, config.train.class_weight, config.train.param_grid) == ("roc_auc", "none", {})
    assert (config.data_split.split.kind, config.base.positive) == ("stratified", "y")
    assert (config.tracking.experiment_name, config.registry.model_name) == ("t", "t")
    assert config.registry.gate.minimum == {}
    assert config.data_load.missing_target == "error"


@pytest.mark.parametrize(("n_numbers", "n_declared"), [(49, 50), (50, 1)])
def test_wide_table_declares_only_columns_that_are_not_numbers(tmp_path: Path, n_numbers: int, n_declared: int) -> None:
    numbers = {f"x{position}": [0.5, 1.5] * 20 for position in range(n_numbers)}
    _, config = proposed(tmp_path, pd.DataFrame(numbers).assign(town=ROWS["town"], species=ROWS["species"]), "species")
    assert len(config.declared_columns) == n_declared
    assert config.declared_columns["town"] == {"kind": "category"}


def test_description_gives_the_reasons(tmp_path: Path) -> None:
    rows = ROWS.assign(species=[None, *ROWS["species"][1:]], **{f"x{position}": 0.5 for position in range(50)})
    rows.to_csv(tmp_path / "t.csv", index=False, sep=";")
    lines = describe(guess_table(tmp_path / "t.csv"), Path("t.csv")).splitlines()
    assert lines[:11] == [
        "t.csv: 40 rows × 54 columns",
        "  target  species: its name is typical of a target; 1 of 40 rows have none and are dropped",
        "  task    classification: 2 different texts",
        "  split   stratified: at random, with the same share of each class",
        "  score   roc_auc: how well x is separated from y, whatever the threshold",
        "  separator  ';': 40 of 40 rows have 54 fields",
        "  columns",
        "    a b   number            1.5 to 4.5, 10 of 40 missing",
        "    town  category          4 levels such as Bonn, Ulm, None",
        "    day   date              dates such as 31.01.2024",
        "    x0    number            0.5 to 0.5",
    ]
    assert [lines[-5], lines[-4]] == [
        "    and 3 more",
        "  note: to predict the future, set data_split.split: {kind: time, column: day}",
    ]


def test_names_and_values_are_shown_as_text_of_limited_length(repo: Path, new_data: Run) -> None:
    rows = ROWS.rename(columns={"a b": "a\x1b[2J\nb", "town": "x" * 100_000})
    rows.assign(day="\x1b[31mred\x07").to_csv(repo.parent / "own.csv", index=False)
    out, err = new_data("--file", "../own.csv", code=2)
    assert r"    a\x1b[2J\nb " in out
    assert max(map(len, (out + err).splitlines())) <= 1000
    assert "".join((out + err).split("\n")).isprintable()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve the table on the loopback interface."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/own.csv"
    server.shutdown()
    server.server_close()
    thread.join()


def test_url_is_imported_with_dvc_and_becomes_the_source(repo: Path, address: str, new_data: Run) -> None:
    new_data("--url", address, "--yes")
    config = load_config(Path("params.yaml"))
    assert config.data_load.source.model_dump(exclude_unset=True) == {"kind": "url", "url": address}
    assert (repo / "data/external/own.csv").read_bytes() == (repo.parent / "own.csv").read_bytes()
    assert address in (repo / "data/external/own.csv.dvc").read_text()


def test_nothing_is_downloaded_without_consent(repo: Path, address: str, new_data: Run) -> None:
    before = state(repo)
    _, err = new_data("--url", address, code=2)
    assert f"nothing was written: download {address} to data/external/own.csv?" in err
    assert state(repo) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--file", "gone.csv"), "DataError: gone.csv is missing."),
        (("--file", "../own.csv", "--target", "gone"), "DataError: TARGET = 'gone' is not in the table; it has a b, "),
        (("--file", "params.yaml"), "DataError: params.yaml: unknown file type"),
        (("--url", "https://user:secret@example.org/t.csv"), "DataError: the URL must not contain credentials"),
        (("--url", "https://example.org/?sig=secret"), "DataError: the URL must not contain credentials"),
        (("--url", "https://example.org/"), "DataError: https://example.org/ does not end in the name of a file."),
    ],
)
def test_unusable_table_is_refused_in_one_line(
    repo: Path, new_data: Run, arguments: tuple[str, ...], message: str
) -> None:
    before = state(repo)
    _, err = new_data(*arguments, "--yes", code=2)
    assert message in err.splitlines()[-1]
    assert "secret" not in err
    assert state(repo) == before


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a\nb.csv", "DataError: data/external/a\\nb.csv: the path of a table must not contain line breaks"),
        (f"{'x' * 220}.csv", f"DataError: data/external/{'x' * 78}: the path of a table must have at most 200 char"),
    ],
)
def test_file_whose_path_no_setting_may_have_is_refused_before_it_is_copied(
    repo: Path, new_data: Run, name: str, problem: str
) -> None:
    (repo.parent / "own.csv").rename(repo.parent / name)
    before = state(repo)
    _, err = new_data("--file", f"../{name}", "--yes", code=2)
    assert err.startswith(problem)
    assert err.count("\n") == 1
    _, err = new_data("--url", f"https://example.org/{'x' * 220}.csv", "--yes", code=2)
    assert "at most 200 characters; rename it." in err
    assert state(repo) == before


def test_proposal_that_no_stage_would_accept_is_refused_before_the_file_is_copied(
    repo: Path, new_data: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(repo)
    monkeypatch.setattr("src.new_data.__main__.propose", lambda *_: PARAMS.replace("cv: 5", "cv: 1"))
    _, err = new_data("--file", "../own.csv", "--yes", code=2)
    assert err == (
        "ConfigError: ../own.csv cannot be used, and nothing was written: params.yaml: train.cv = 1: must be greater "
        "than or equal to 2.\n"
    )
    assert state(repo) == before


@pytest.mark.usefixtures("repo")
def test_command_starts_from_the_shell() -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "src.new_data", "--file", "gone.csv"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "DataError: gone.csv is missing.\n")
