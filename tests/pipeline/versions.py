"""Helpers for the tests of versions."""

import json
import subprocess
import sys
from pathlib import Path

from tests.pipeline.clone import Clone

MAKE = ("make", "-o", "install", f"BIN={Path(sys.executable).parent}")


def add_origin(clone: Clone, path: Path) -> None:
    clone.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(path))
    clone.git("remote", "add", "origin", str(path))
    clone.git("push", "--quiet", "origin", "main")


def make(clone: Clone, target: str, code: int = 0, **variables: str) -> "subprocess.CompletedProcess[str]":
    # make exits with 2 if a recipe fails.
    return clone.run(*MAKE, target, *(f"{name}={value}" for name, value in variables.items()), code=2 if code else 0)


def md5s(clone: Clone) -> dict[str, str]:
    """Return the MD5 of each output in the workspace, computed by `md5sum`."""
    outputs = [
        path
        for folder in ("data/raw", "data/processed", "models", "reports")
        for path in (clone.path / folder).glob("[!.]*.*")
    ]
    lines = clone.run("md5sum", *(str(path.relative_to(clone.path)) for path in sorted(outputs))).stdout.splitlines()
    return {line.split()[1]: line.split()[0] for line in lines}


def refs(clone: Clone) -> list[str]:
    return [line.split()[1] for line in clone.git("ls-remote", "--tags", "--refs", "origin").splitlines()]


def recorded(two_versions: Path, tag: str) -> dict[str, str]:
    content: dict[str, str] = json.loads((two_versions / f"{tag}.json").read_text())
    return content
