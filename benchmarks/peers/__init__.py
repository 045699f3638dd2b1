"""The same job by other tools, each in a virtual environment of its own."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.workspace import ROOT, Cost, Workspace

HERE = Path(__file__).parent
# What a peer runs, and the packages whose versions are named in the report.
PEERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kedro": (("kedro", "run"), ("kedro", "kedro-mlflow", "mlflow", "pandas", "scikit-learn")),
    "dvc_mlflow": (
        ("sh", "-c", "MLFLOW_RUN_ID=$(python start_pipeline.py) dvc repro --force"),
        ("dvc", "mlflow", "pandas", "scikit-learn"),
    ),
}


class PeerError(Exception):
    """The environment of a peer cannot be made."""


def make_peer(name: str, folder: Path) -> tuple[Callable[[], Cost], str]:
    """Copy a peer into a folder and make its environment.

    Args:
        name: A name of `PEERS`.
        folder: Where to; does not exist.

    Returns:
        What runs it from start to end, and the versions that it runs with.

    Raises:
        PeerError: Its environment cannot be made.
    """
    command, packages = PEERS[name]
    bin_dir = make_environment(name)
    shutil.copytree(HERE / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    # They share functions of plain.py.
    (folder / "benchmarks").mkdir()
    shutil.copy2(ROOT / "benchmarks" / "plain.py", folder / "benchmarks")
    workspace = Workspace(folder, bin_dir)
    if name == "dvc_mlflow":
        (folder / "pipeline.yaml").rename(folder / "dvc.yaml")
        workspace.run("dvc", "init", "--quiet")
    return lambda: workspace.run(*command, PYTHONPATH=str(folder)), list_versions(bin_dir, packages)


def list_versions(bin_dir: Path, packages: Sequence[str]) -> str:
    """List the versions of packages in an environment."""
    listing = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    listed = subprocess.run(
        [bin_dir / "python", "-c", listing, *packages], check=True, capture_output=True, text=True
    ).stdout.split()
    return ", ".join(f"{package} {version}" for package, version in zip(packages, listed, strict=True))


def make_environment(name: str) -> Path:
    """Make the virtual environment of a peer in the user's cache, or find it there; gives its folder of commands.

    Raises:
        PeerError: It cannot be made.
    """
    requirements = HERE / name / "requirements.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dvc-mlflow-pipeline"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    path = cache / f"{requirements.parent.name}-{digest}"
    if not (path / "complete").exists():
        shutil.rmtree(path, ignore_errors=True)
        try:
            venv.create(path, with_pip=False)
            python = str(path / "bin" / "python")
            install = ["pip", "install", "--quiet", "--compile-bytecode", "--python", python, "-r", str(requirements)]
            subprocess.run([sys.executable, "-m", "uv", *install], check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise PeerError(" ".join(error.stderr.split())[:200]) from error
        except OSError as error:
            raise PeerError(str(error)) from error
        (path / "complete").touch()
    return path / "bin"
