"""A clone of this repository in which commands are timed."""

import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
LAUNCHER = ("-m", "src.utils.start_pipeline")
BARE = ("-m", "dvc", "repro")
FLOOR = ("-m", "benchmarks.floor")
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Benchmark"), ("EMAIL", "benchmark@example.org"))
}


@dataclass(frozen=True)
class Cost:
    """What one command cost.

    Attributes:
        seconds: Wall-clock time.
        megabytes: Peak memory of its largest process.
    """

    seconds: float
    megabytes: float


def peak_megabytes(usage: resource.struct_rusage) -> float:
    """Give the peak of memory, which macOS counts in bytes and Linux in kilobytes."""
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Workspace:
    """A clone with the settings of one benchmark.

    Args:
        path: Where to make it.
        changes: Settings that differ from `params.yaml`, by section and key.
    """

    def __init__(self, path: Path, changes: dict[str, dict[str, Any]] | None = None) -> None:
        self.path = path
        foreign = ("MLFLOW_", "DVC_", "PIPELINE_", "MAKE")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # DVC runs the stages with the `python` of the PATH.
        search = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        self._environ = environ | IDENTITY | {"PATH": search, "DVC_NO_ANALYTICS": "true"}
        self._copy()
        for section, values in (changes or {}).items():
            for key, value in values.items():
                self.set_param(section, key, value)

    def set_param(self, section: str, key: str, value: Any) -> None:
        """Change one setting."""
        file = self.path / "params.yaml"
        params = yaml.safe_load(file.read_text(encoding="utf-8"))
        params[section][key] = value
        file.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def run(self, *arguments: str, **environ: str) -> Cost:
        """Run `python ARGUMENTS` and measure it.

        Raises:
            RuntimeError: It failed; tells what it said.
        """
        log = self.path / ".dvc" / "bench.log"
        with log.open("wb") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.path, env=self._environ | environ, stdout=output, stderr=output,
            )  # fmt: skip
            # Its own and that of all it waited for, which subprocess does not tell.
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} gave {process.returncode}:\n{log.read_text(encoding='utf-8')}")
        return Cost(seconds, peak_megabytes(usage))

    def _copy(self) -> None:
        """Copy the files that git knows or would know, and commit them."""
        for name in filter(
            None, _git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
        ):
            if (ROOT / name).is_file():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.path / name)
        _git(self.path, "init", "--quiet", "--initial-branch", "main")
        _git(self.path, "add", "--all")
        _git(self.path, "commit", "--quiet", "--message", "Clone")


def _git(path: Path, *arguments: str) -> str:
    environ = os.environ | IDENTITY
    return subprocess.run(["git", *arguments], cwd=path, env=environ, check=True, capture_output=True, text=True).stdout
