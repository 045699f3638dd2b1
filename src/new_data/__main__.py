"""Set up the pipeline for your own table: `make new-data FILE=table.csv|URL=https://… [TARGET=column] [YES=1]`."""

import argparse
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from src.atomic import atomic_path
from src.config.data_load import UrlSource, name_table
from src.config.load import load_config, parse_config
from src.config.section import EXTERNAL_DIR, RepoPath
from src.config.yaml_file import read_text
from src.errors import ConfigError, DataError
from src.new_data.guess import Guess, guess_table
from src.new_data.rewrite import rewrite_settings
from src.text import one_line, show
from src.utils.command import command, confirm
from src.versions.commands import show_and_run

PARAMS = Path("params.yaml")
# Of wider tables, only columns that are not numbers are declared.
MAX_DECLARED = 50
# Of a name and of a line, when they are shown.
MAX_NAME, MAX_LENGTH = 80, 500
# A search by halving is faster with more rows; with fewer, starting processes takes longer than they save.
MANY_ROWS, FEW_ROWS, SEARCH_SECONDS = 20_000, 2_000, 120
# Settings that must not stay from the former table.
DEFAULTS: dict[str, Any] = {
    "train.estimator": "auto",
    "train.class_weight": "none",
    "train.threshold": 0.5,
    "train.calibrate": "none",
    "train.param_grid": {},
}


def propose(text: str, guess: Guess, path: Path, url: str | None) -> str:
    """Return the text of `params.yaml` with the settings of a guess, without those of the former table.

    Args:
        text: Current content of `params.yaml`.
        guess: Guessed settings.
        path: Path of the table in `data/external`.
        url: URL of the table; None for a file.
    """
    columns = guess.columns
    if len(columns) > MAX_DECLARED:
        columns = {name: column for name, column in columns.items() if column.declared != {"kind": "number"}}
    declared = {name: (column.declared, column.why) for name, column in columns.items()}
    if guess.declared_target:
        declared[guess.target[0]] = (guess.declared_target, "the target")
    source = {"kind": ("url", ""), "url": (url, "")} if url else {"kind": ("file", "")}
    name = name_table({"kind": "file"}, path.as_posix())
    values: dict[str, Any] = {
        "base.task": guess.task[0],
        "base.target_column": guess.target[0],
        "base.positive": guess.positive,
        "data_load.external_path": path.as_posix(),
        "data_load.missing_target": "drop" if guess.n_missing_targets else "error",
        "featurize.features": {},
        "data_split.split": guess.split[0],
        "train.scoring": guess.scoring[0],
        "train.search": {"kind": "grid" if guess.n_rows <= MANY_ROWS else "halving", "seconds": SEARCH_SECONDS},
        "train.n_jobs": -1 if guess.n_rows > FEW_ROWS else 1,
        **DEFAULTS,
        "tracking.experiment_name": name,
        # A registered model's name contains no slash and no colon, and does not begin with a space.
        "registry.model_name": re.sub("[/:]", "_", name).strip()[:200] or "model",
        "registry.gate.minimum": {},
    }
    return rewrite_settings(text, values, {"data_load.source": source | guess.source, "data_load.columns": declared})


def describe(guess: Guess, path: Path) -> str:
    """Describe a guess and its reasons."""
    n_dropped = guess.n_missing_targets
    dropped = f"; {n_dropped} of {guess.n_rows} rows have none and are dropped" if n_dropped else ""
    split = ", ".join(map(str, guess.split[0].values()))
    size = f"{guess.n_rows} rows × {len(guess.columns) + 1} columns"
    lines = [
        f"{path}: the first {size}; the table has more rows" if guess.is_sample else f"{path}: {size}",
        f"  target  {one_line(guess.target[0], MAX_NAME)}: {guess.target[1]}{dropped}",
        f"  task    {guess.task[0]}: {guess.task[1]}",
        f"  split   {one_line(split, MAX_NAME)}: {guess.split[1]}",
        f"  score   {guess.scoring[0]}: {guess.scoring[1]}",
        *(f"  {name}  {value!r}: {why}" for name, (value, why) in guess.source.items()),
        "  columns",
    ]
    shown = list(guess.columns.items())[:MAX_DECLARED]
    width = min(30, max(len(one_line(name, MAX_NAME)) for name, _ in shown))
    lines += [
        f"    {one_line(name, MAX_NAME):<{width}}  {column.declared['kind']:<16}  {one_line(column.why, MAX_LENGTH)}"
        for name, column in shown
    ]
    if len(shown) < len(guess.columns):
        lines.append(f"    and {len(guess.columns) - len(shown)} more")
    return "\n".join([*lines, *(f"  note: {note}" for note in guess.notes)])


def ask(guess: Guess, path: Path, *, yes: bool) -> None:
    """Ask about each column in doubt, and change its guess; without a terminal or with `yes`, note the doubt."""
    for name, column in guess.columns.items():
        if column.doubt is None:
            continue
        doubt, where = column.doubt, f"column {one_line(name, MAX_NAME)!r}"
        question = f"{path}, {where}: {doubt.read_as}. Use the other reading instead ({doubt.alternative})?"
        if not yes and confirm(one_line(question, MAX_LENGTH)):
            column.declared, column.why = doubt.declared, f"{doubt.alternative}, as you chose"
        else:
            guess.notes.append(f"{where}: {doubt.describe(name)}")


@command
def main() -> None:
    """Guess what a table contains, show the guess, and write it into `params.yaml` if the user agrees."""
    parser = argparse.ArgumentParser(prog="python -m src.new_data", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--file", type=Path, help="CSV, TSV, JSON lines, Parquet, Arrow or Excel file, or a folder of Parquet parts"
    )
    where.add_argument("--url", help="URL of such a file")
    parser.add_argument("--target", help="column to predict; guessed by default")
    parser.add_argument("--yes", action="store_true", help="write without asking")
    options = parser.parse_args()
    load_config(PARAMS)
    # Not every shell expands `~` in `FILE=~/table.csv`.
    original = options.file.expanduser() if options.file else _download(options.url, options.yes)
    path = _external(_locate(original).name)
    guess = guess_table(original, options.target)
    ask(guess, original, yes=options.yes)
    text = read_text(PARAMS)
    try:
        proposal = propose(text, guess, path, options.url)
    except KeyError as error:
        raise ConfigError(f"{PARAMS} has no {error}; `git checkout {PARAMS}` restores it.") from None
    try:
        parse_config(proposal, PARAMS)
    except ConfigError as error:
        raise ConfigError(f"{original} cannot be used, and nothing was written: {error}") from None
    old_lines = set(text.splitlines())
    new_lines = [f"  {line}" for line in proposal.splitlines() if line not in old_lines]
    _say("\n".join([describe(guess, original), f"\nNew lines of {PARAMS}:\n", *new_lines, ""]))
    copies = _locate(original) != _locate(path)
    replaces = f", which replaces {path}" if copies and path.exists() else ""
    steps = [f"copy {original} to {path}{replaces}"] if copies else []
    _confirm(f"{', '.join([*steps, f'track {path} with DVC', f'write {PARAMS}'])}?", options.yes)
    if copies:
        _copy(original, path)
    if not options.url:
        show_and_run(Path(), "dvc", "add", str(path))
    with atomic_path(PARAMS) as partial:
        partial.write_text(proposal, encoding="utf-8")
    # `git commit -a` ignores untracked files.
    add = shlex.join(["git", "add", f"{path}.dvc"])
    _say(f"Wrote {PARAMS}: check it, then run `make pipeline`, `{add}` and `git commit -a`.")


def _locate(path: Path) -> Path:
    """Return the absolute path of a file, without resolving a link into DVC's cache."""
    absolute = path.absolute()
    return absolute.parent.resolve() / absolute.name


def _external(name: str) -> Path:
    """Return the path of a table in this repository."""
    try:
        return TypeAdapter(RepoPath).validate_python(EXTERNAL_DIR / name)
    except ValidationError as error:
        problem = error.errors()[0]["ctx"]["error"]
        raise DataError(f"{EXTERNAL_DIR}/{show(name)[1:-1]}: the path of a table {problem}; rename it.") from None


def _download(url: str, yes: bool) -> Path:
    """Import a URL with DVC, unless its file already exists."""
    try:
        UrlSource(kind="url", url=url)
    except ValidationError as error:
        raise DataError(f"the URL {error.errors()[0]['ctx']['error']}.") from None
    name = Path(urlsplit(url).path).name
    if not name:
        raise DataError(f"{url} does not end in the name of a file.")
    path = _external(name)
    if not path.exists():
        _confirm(f"download {url} to {path}?", yes)
        show_and_run(Path(), "dvc", "import-url", url, str(path))
    return path


def _copy(original: Path, path: Path) -> None:
    if not original.is_dir():
        with atomic_path(path) as partial:
            shutil.copyfile(original, partial)
    elif path.exists():
        raise DataError(f"{path} already exists; move it away first.")
    else:
        shutil.copytree(original, path)


def _confirm(question: str, yes: bool) -> None:
    """Raise DataError unless the user, or `yes`, agrees."""
    if yes:
        _say(f"{question} yes")
        return
    answer = confirm(one_line(question, MAX_LENGTH))
    if answer is None:
        raise DataError(
            f"nothing was written: {question} Run this in a terminal, or agree with `make new-data … YES=1`."
        )
    if not answer:
        raise DataError("nothing was written.")


def _say(text: str) -> None:
    """Print lines, without what a terminal would not show as text."""
    sys.stdout.writelines(f"{one_line(line, MAX_LENGTH)}\n" for line in text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())
