"""Start with a table of your own: `make new-data FILE=table.csv|URL=https://… [TARGET=column] [YES=1]`."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from src.atomic import atomic_path
from src.config.consistency import EXTERNAL_DIR
from src.config.data_load import UrlSource
from src.config.load import load_config
from src.errors import ConfigError, DataError
from src.new_data.guess import Guess, guess_table
from src.new_data.rewrite import Line, flow, rewrite_settings
from src.utils.command import command
from src.versions.commands import show_and_run

PARAMS = Path("params.yaml")
# Beyond that only what is no number is declared, and the rest inferred.
MAX_DECLARED = 50
# For a task that the settings were not made for.
STARTERS: dict[str, dict[str, Any]] = {
    "classification": {"estimator": "logreg", "scoring": "f1_macro", "split": {"kind": "stratified"}},
    "regression": {"estimator": "ridge", "scoring": "r2", "split": {"kind": "random"}},
}


def propose(text: str, guess: Guess, path: Path, url: str | None, old_task: str) -> str:
    """Write what was guessed into the text of `params.yaml`.

    Args:
        text: The settings as they are; comments stay.
        guess: What the table seems to be.
        path: Where in `data/external` the table is or will be.
        url: Where it came from, None for a file.
        old_task: Task that the settings are made for.
    """
    task = guess.task[0]
    source: list[Line] = [("kind", "url" if url else "file", "")]
    source += [("url", url, "")] if url else []
    source += [(name, value, why) for name, (value, why) in guess.source.items()]
    declared = guess.columns
    if len(declared) > MAX_DECLARED:
        declared = {name: column for name, column in declared.items() if column[0]["kind"] != "number"}
    changes: dict[str, Any] = {
        "base.task": task,
        "base.target_column": guess.target[0],
        "data_load.source": source,
        "data_load.external_path": path.as_posix(),
        "data_load.columns": [(name, column, why) for name, (column, why) in declared.items()],
        "data_load.missing_target": "drop" if guess.n_without_target else "error",
        "featurize.features": {},
        "data_split.split": STARTERS[task]["split"],
    }
    if task != old_task:
        changes |= {f"train.{key}": STARTERS[task][key] for key in ("estimator", "scoring")}
        changes["train.class_weight"] = "none"
    return rewrite_settings(text, changes)


def describe(guess: Guess, path: Path) -> str:
    """Tell what was guessed and why."""
    lines = [
        f"{path}: {guess.n_rows} rows × {len(guess.columns) + 1} columns",
        f"  target  {guess.target[0]}: {guess.target[1]}"
        + (f"; {guess.n_without_target} rows lack it and are dropped" if guess.n_without_target else ""),
        f"  task    {guess.task[0]}: {guess.task[1]}",
        *(f"  {name}  {flow(value)}: {why}" for name, (value, why) in guess.source.items()),
        "  columns",
    ]
    shown = list(guess.columns.items())[:MAX_DECLARED]
    width = min(30, max(len(name) for name, _ in shown))
    for name, (column, why) in shown:
        lines.append(f"    {name:<{width}}  {column['kind']:<16}  {why}")
    if len(shown) < len(guess.columns):
        lines.append(f"    and {len(guess.columns) - len(shown)} more")
    return "\n".join([*lines, *(f"  note: {remark}" for remark in guess.remarks)])


@command
def main() -> None:
    """Guess what a table is, show it, and on a yes write it into `params.yaml`."""
    parser = argparse.ArgumentParser(prog="python -m src.new_data", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--file", type=Path, help="CSV, TSV, either compressed, Parquet, or a folder of Parquet parts")
    where.add_argument("--url", help="address of such a file")
    parser.add_argument("--target", help="column to predict, by default guessed")
    parser.add_argument("--yes", action="store_true", help="write without asking")
    options = parser.parse_args()
    if options.file:
        # Not every shell does so behind `FILE=`.
        options.file = options.file.expanduser()
    old = load_config(PARAMS)
    name = Path(urlsplit(options.url).path).name if options.url else _place(options.file).name
    path = EXTERNAL_DIR / name
    # First of all: other messages tell the address.
    if options.url:
        _check_address(options.url)
    if not name:
        raise DataError(f"{options.url} does not end in the name of a file.")
    if options.url and not path.exists():
        _agree(f"download {options.url} to {path}?", options.yes)
        show_and_run(Path(), "dvc", "import-url", options.url, str(path))
    original = path if options.url else options.file
    guess = guess_table(original, options.target)
    text = PARAMS.read_text(encoding="utf-8")
    try:
        proposal = propose(text, guess, path, options.url, old.base.task)
    except KeyError as error:
        raise ConfigError(f"{PARAMS} has no {error}; `git checkout {PARAMS}` brings it back.") from None
    _say(describe(guess, original))
    _say(f"\nThese lines of {PARAMS} would be new:\n")
    _say("\n".join(f"  {line}" for line in proposal.splitlines() if line not in set(text.splitlines())) + "\n")
    is_copied = _place(original) != _place(path)
    replaced = f", which replaces {path}" if is_copied and path.exists() else ""
    steps = [f"copy {original} to {path}{replaced}"] if is_copied else []
    _agree(f"{', '.join([*steps, f'let DVC track {path}', f'write {PARAMS}'])}?", options.yes)
    if is_copied:
        _copy(original, path)
    # What was imported from a URL is tracked already.
    if not options.url:
        show_and_run(Path(), "dvc", "add", str(path))
    with atomic_path(PARAMS) as partial:
        partial.write_text(proposal, encoding="utf-8")
        load_config(partial)
    # `git commit -a` alone leaves out what git does not know yet.
    add = shlex.join(["git", "add", f"{path}.dvc"])
    _say(f"Wrote {PARAMS}: check it, then `make pipeline`, then `{add}` and `git commit -a`.")


def _place(path: Path) -> Path:
    """Tell where a file lies; if it is a link, not where that leads: in DVC's cache names are hashes."""
    absolute = path.absolute()
    return absolute.parent.resolve() / absolute.name


def _check_address(url: str) -> None:
    try:
        UrlSource(kind="url", url=url)
    except ValidationError as error:
        raise DataError(f"URL {error.errors()[0]['ctx']['error']}.") from None


def _copy(original: Path, path: Path) -> None:
    if original.is_dir():
        if path.exists():
            raise DataError(f"{path} is there already; move it away first.")
        shutil.copytree(original, path)
        return
    with atomic_path(path) as partial:
        shutil.copyfile(original, partial)


def _agree(question: str, yes: bool) -> None:
    """Ask, unless that was answered beforehand.

    Raises:
        DataError: The answer is no, or nobody is there to give one.
    """
    if yes:
        _say(f"{question} yes")
    elif not sys.stdin.isatty():
        raise DataError(f"nothing is written without a yes: {question} `make new-data … YES=1` says it.")
    else:
        sys.stdout.write(f"{question} [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise DataError("nothing is written.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
