"""Folders in which commands are timed: a clone of this repository, and plain folders with a few files."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

ROOT = Path(__file__).parents[1]
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Benchmark"), ("EMAIL", "benchmark@example.org"))
}
QUIET = {"DVC_NO_ANALYTICS": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass(frozen=True)
class Cost:
    """What one command cost, with all the processes that it started.

    Attributes:
        seconds: Wall-clock time until the command ended.
        cpu_seconds: User and system time.
        megabytes: Peak memory of the largest process.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float


class Workspace:
    """A git repository in which commands are timed.

    Args:
        path: An existing folder.
        bin_dir: Where `python` and the other commands come from, by default the environment of this process.
    """

    def __init__(self, path: Path, bin_dir: Path | None = None) -> None:
        self.path = path
        self._bin_dir = bin_dir or Path(sys.executable).parent
        foreign = ("MLFLOW_", "DVC_", "PIPELINE_", "MAKE", "PYTHONPATH", "VIRTUAL_ENV")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # DVC runs the stages with the `python` of the PATH.
        search = f"{self._bin_dir}{os.pathsep}{environ['PATH']}"
        self._environ = environ | IDENTITY | QUIET | {"PATH": search}
        self._git("init", "--quiet", "--initial-branch", "main")
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", "Start")

    @classmethod
    def clone(cls, path: Path, changes: dict[str, dict[str, Any]] | None = None) -> Self:
        """Copy this repository as it is now, committed or not.

        Args:
            path: Where to.
            changes: Settings that differ from `params.yaml`, by section and key.
        """
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, path / name)
        workspace = cls(path)
        for section, values in (changes or {}).items():
            for key, value in values.items():
                workspace.set_param(section, key, value)
        return workspace

    def set_param(self, section: str, key: str, value: Any) -> None:
        """Change one setting."""
        file = self.path / "params.yaml"
        params = yaml.safe_load(file.read_text(encoding="utf-8"))
        params[section][key] = value
        file.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def python(self, *arguments: str, **environ: str) -> Cost:
        """Run `python ARGUMENTS` and measure it."""
        return self.run(str(self._bin_dir / "python"), *arguments, **environ)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start `python ARGUMENTS`, which writes to a log, and leave it running."""
        with (self.path / ".git" / "bench.log").open("ab") as output:
            return subprocess.Popen(
                [str(self._bin_dir / "python"), *arguments],
                cwd=self.path, env=self._environ | environ, stdout=output, stderr=output,
            )  # fmt: skip

    def run(self, *command: str, **environ: str) -> Cost:
        """Run a command and measure it.

        Raises:
            RuntimeError: It failed; holds its output.
        """
        log, result = self.path / ".git" / "bench.log", self.path / ".git" / "bench.json"
        with log.open("wb") as output:
            subprocess.run(
                [sys.executable, str(ROOT / "benchmarks" / "cost.py"), str(result), *command],
                cwd=self.path, env=self._environ | environ, stdout=output, stderr=output, check=True,
            )  # fmt: skip
        measured = json.loads(result.read_text(encoding="utf-8"))
        if code := measured.pop("code"):
            raise RuntimeError(f"{' '.join(command)} exited with {code}:\n{log.read_text(encoding='utf-8')}")
        return Cost(**measured)

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.path, env=self._environ, check=True)
