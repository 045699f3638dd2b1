"""What make does with the user's environment and with a damaged `.venv`."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE_FOR = ".venv/.made-for"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a space in its name, with the Makefile and a target that prints the environment."""
    path = tmp_path / "a clone"
    path.mkdir()
    shutil.copy(ROOT / "Makefile", path)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (path / name).touch()
    (path / "show.mk").write_text("include Makefile\nshow: ; @env\n")
    return path


def make(folder: Path, *arguments: str, **variables: str) -> str:
    # Otherwise make takes part in the make that runs these tests.
    environ = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environ | variables, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    ("target", "variable"),
    [("pipeline", "NAME"), ("pipeline", "ARGS"), ("repro", "ARGS"), ("publish", "MESSAGE"), ("publish", "YES"),
     ("lineage", "JSON"),
     ("new-data", "TARGET"), ("new-data", "YES"), ("show", "URL"), ("remote", "ENDPOINT"), ("bench", "ONLY"),
     ("test", "TESTS"), ("show", "GRID"), ("show", "DIR"), ("show", "TAG"), ("show", "A"), ("show", "B"),
     ("show", "RUN"), ("show", "REF"), ("show", "RUNS"), ("show", "FILE"), ("show", "N"), ("show", "PORTABLE")],
)  # fmt: skip
def test_variable_counts_from_the_command_line_only(folder: Path, target: str, variable: str) -> None:
    arguments = ["-f", "show.mk", *([] if target == "show" else ["-n", "-o", "install", "-o", "dev-install"]), target]
    without = make(folder, *arguments)
    from_shell = make(folder, *arguments, **{variable: "of-the-shell"})
    # Recipes see it empty.
    assert from_shell.replace(f"{variable}=\n", "") == without.replace(f"{variable}=\n", "")
    assert make(folder, *arguments, f"{variable}=of-the-user") != without


def test_every_variable_that_a_recipe_reads_in_the_shell_reaches_it(folder: Path) -> None:
    names = set(re.findall(r'"\$\$\{?([A-Z]+)', (ROOT / "Makefile").read_text()))
    shown = make(folder, "-f", "show.mk", "show", *(f"{name}=of-the-user" for name in names))
    assert {name for name in names if f"{name}=of-the-user\n" not in shown} == set()


def test_environment_leads_no_tool_astray(folder: Path) -> None:
    harmful = {
        "GIT_DIR": "/elsewhere",
        "GIT_WORK_TREE": "/elsewhere",
        "GIT_INDEX_FILE": "/elsewhere",
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "error",
        "PIP_TARGET": "/elsewhere",
    }
    shown = make(folder, "-f", "show.mk", "show", **harmful)
    assert [name for name in harmful if f"{name}=" in shown] == []
    assert "PIP_USER=0\n" in make(folder, "-f", "show.mk", "show", PIP_USER="1")


def test_user_without_a_name_gets_one_which_dvc_needs(folder: Path) -> None:
    command = ["env", "--unset=USER", "--unset=LOGNAME", "--unset=HOME", "make", "-f", "show.mk", "show"]
    shown = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    assert f"USER={pwd.getpwuid(os.getuid()).pw_name}\n" in shown
    assert f"HOME={folder}/.dvc/tmp/home\n" in shown


@pytest.mark.slow
def test_venv_is_made_again_if_it_is_damaged_and_only_then(folder: Path) -> None:
    def make_venv() -> Path:
        # Without uv, which would be downloaded, pip installs.
        make(folder, "-o", ".venv/bin/uv", ".venv/bin/python", "install")
        subprocess.run([folder / ".venv/bin/python", "-m", "pip", "--version"], check=True, capture_output=True)
        return folder / ".venv"

    # Interrupted before it was complete.
    mark = make_venv() / "mark"
    (folder / MADE_FOR).unlink()
    next((folder / ".venv").glob("lib/python*/site-packages/pip/__main__.py")).unlink()
    make_venv()

    # Not damaged.
    mark.touch()
    make_venv()
    assert mark.exists()

    # Its Python was upgraded or deleted.
    (folder / ".venv/bin/python").unlink()
    (folder / ".venv/bin/python").symlink_to("/nonexistent/python3.11")
    make_venv()
    assert not mark.exists()

    # Moved, so that its scripts name another folder.
    mark.touch()
    folder = folder.rename(folder.with_name("moved"))
    make_venv()
    assert not (folder / ".venv/mark").exists()

    # A link to one that is made elsewhere.
    (folder / ".venv").rename(folder.with_name("shared"))
    (folder / ".venv").symlink_to(folder.with_name("shared"))
    (folder / ".venv/mark").touch()
    make_venv()
    (folder / ".venv/bin/python").unlink()
    with pytest.raises(subprocess.CalledProcessError) as raised:
        make_venv()
    assert ".venv is a link, and what it leads to has no Python" in raised.value.stderr
    assert (folder / ".venv/mark").exists()
