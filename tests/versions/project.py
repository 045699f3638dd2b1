"""What the tests of versions do in a project, by programs that are not ours."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import yaml
from dvc.repo import Repo

IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
}
OUTPUTS = ("models/model.joblib", "table.parquet", "plots/points.csv", "metrics.json")

FILES = {
    ".gitignore": "/models\n/table.parquet\n/plots\n/external/?*\n!*.dvc\n__pycache__/\n/mlflow.db*\n/mlruns/\n"
    "/reports/?*\n!.gitkeep\n/other\n",
    "params.yaml": "train: {scale: 0, model_path: models/model.joblib, options: {}, grid: [1, 2]}\n"
    'data_load: {source: {kind: file, path: rows.csv, separator: ";"}}\n',
    "dvc.yaml": """
stages:
  train:
    cmd: python make.py
    deps: [make.py]
    params: [train.scale]
    outs: ["${train.model_path}", table.parquet]
    plots: [plots]
    metrics: [metrics.json: {cache: false}]
artifacts:
  model: {path: "${train.model_path}", type: model}
  rows: {path: table.parquet, type: data}
""",
    "make.py": """
import json
from pathlib import Path

import joblib
import pyarrow as pa
import pyarrow.parquet as pq

from src.featurize.features import prepare

scale = int(Path("params.yaml").read_text().partition("scale: ")[2].partition(",")[0])
Path("models").mkdir(exist_ok=True)
Path("plots").mkdir(exist_ok=True)
joblib.dump((prepare, scale), "models/model.joblib")
pq.write_table(pa.table({"size": [1.0 * scale, 2.5], "color": ["red", "blue"]}), "table.parquet")
Path("plots/points.csv").write_text(f"x,y\\n1,{scale}\\n")
Path("metrics.json").write_text(json.dumps({"f1": 0.5 + scale / 10, "classes": {"a": scale}, "note": "text"}))
""",
    "reports/.gitkeep": "",
    "src/__init__.py": "",
    "src/errors.py": "class FeatureError(Exception): ...\n",
    "src/data/__init__.py": "",
    "src/data/kinds.py": "FACTOR = 10\n",
    "src/featurize/__init__.py": "",
    "src/featurize/features.py": """
from src.data.kinds import FACTOR
from src.errors import FeatureError

def prepare(value):
    if value is None:
        raise FeatureError("no value")
    return value * FACTOR
""",
}


class Project:
    """A repository, and questions to git, DVC and the disk.

    Args:
        root: Root of the repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str) -> str:
        return self._run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self._run(sys.executable, "-m", "dvc", *arguments)

    def commit(self, message: str = "Change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def set_scale(self, scale: int) -> None:
        path = self.root / "params.yaml"
        before, _, after = path.read_text().partition("scale: ")
        path.write_text(f"{before}scale: {scale},{after.partition(',')[2]}")

    def add_table(self, content: str = "a,b\n1,2\n") -> str:
        """Add a table by `dvc add`, and return its MD5."""
        path = self.root / "external" / "my table.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        self.dvc("add", "--quiet", str(path))
        return md5_of(path)

    def depend_on(self, paths: str) -> None:
        """Add dependencies to the stage, and run it."""
        path = self.root / "dvc.yaml"
        path.write_text(path.read_text().replace("[make.py]", f"[make.py, {paths}]"))
        self.dvc("repro", "--quiet")

    def md5s(self) -> dict[str, str]:
        """Hash the outputs that are in the workspace."""
        return {name: md5_of(self.root / name) for name in OUTPUTS if (self.root / name).exists()}

    def stored(self, name: str, revision: str = "HEAD", *, remote: bool = False) -> Path:
        """Find the object of an output in DVC's cache, or in its remote."""
        md5 = self.recorded(revision)[name]
        folder = self.root.parent / "storage" if remote else self.root / ".dvc" / "cache"
        return folder / "files" / "md5" / md5[:2] / md5[2:]

    def recorded(self, revision: str) -> dict[str, str]:
        """Read the MD5 of each output from `dvc.lock` of a revision."""
        (stage,) = yaml.safe_load(self.git("show", f"{revision}:dvc.lock"))["stages"].values()
        return {out["path"]: out["md5"] for out in stage["outs"]}

    def go_to(self, revision: str) -> None:
        self.git("checkout", "--quiet", revision)
        with Repo(str(self.root)) as repo:
            repo.checkout()

    def tags(self) -> list[str]:
        return self.git("tag").splitlines()

    def remote_tags(self) -> list[str]:
        lines = self.git("ls-remote", "--tags", "--refs", "origin").splitlines()
        return [line.split("refs/tags/")[1] for line in lines]

    def _run(self, *command: str) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}:\n{result.stdout}\n{result.stderr}"
        return result.stdout.strip()


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def damage(path: Path) -> None:
    """Flip a byte, as a failing disk does: size, mode and time stay."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
