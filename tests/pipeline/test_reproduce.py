"""`make reproduce` with real git, DVC and MLflow."""

import platform
from pathlib import Path

import pandas as pd
import pytest

from tests.pipeline.clone import Clone
from tests.pipeline.versions import MAKE, make, md5s

pytestmark = pytest.mark.slow


def test_version_of_a_table_that_a_user_added_is_reproduced_in_a_fresh_clone(published: Clone, tmp_path: Path) -> None:
    table = published.path / "data/external/my table.parquet"
    raw = pd.read_parquet(published.path / "data/raw/dataset.parquet")
    raw.sample(100, random_state=0).to_parquet(table)
    published.run("dvc", "add", str(table))
    published.git("add", "data/external/my table.parquet.dvc")
    published.commit("Add my table")
    rev = published.git("rev-parse", "HEAD")
    published.set_param(
        "data_load.source", {"kind": "dvc", "path": str(table.relative_to(published.path)), "repo": ".", "rev": rev}
    )
    published.launch()
    published.commit("Run on my table")
    make(published, "publish", TAG="v2.0.0")
    # A path beyond ASCII, which DVC and MLflow handle badly.
    clone = Clone(tmp_path / "klon 数据 ö")
    (tmp_path / "x ö").mkdir()
    clone.env["TMPDIR"] = str(tmp_path / "x ö")
    published.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(clone.path))
    before = (md5s(clone), clone.git("status", "--porcelain"))
    # A git hook, such as one that checks a push, exports the first of them.
    variables = {"GIT_DIR": str(clone.path / ".git"), "GIT_INDEX_FILE": str(clone.path / ".git/other")}
    result = clone.run(*MAKE, "reproduce", "RUN=v2.0.0", **variables)
    assert result.stdout == "reproduced: 16 of 16 outputs equal to the byte\n"
    assert clone.git("branch", "--show-current") == "main"
    assert (md5s(clone), clone.git("status", "--porcelain")) == before
    assert not (clone.path / "mlflow.db").exists()
    # Only the table was fetched.
    objects = [path for path in (clone.path / ".dvc/cache/files/md5").glob("*/*") if path.is_file()]
    assert len(objects) == 1
    # DVC would fail in the background, and wait forever.
    assert "DVC runs experiments only under an ASCII path; " in make(clone, "experiments", code=2).stderr
    assert not (clone.path / ".dvc/tmp/exps").exists()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs have other kernels")
def test_portable_run_uses_no_instruction_of_newer_cpus(clone: Clone) -> None:
    used = "{found.get('architecture') for found in threadpoolctl.threadpool_info()}"
    clone.in_stage("train", "import threadpoolctl; from numpy._core._multiarray_umath import __cpu_features__ as cpu")
    clone.edit(
        "src/stages/train.py",
        r"^    logger.info",
        f"    print(sorted({used} - {{None}}), cpu['X86_V3'], cpu['X86_V4'])\n    logger.info",
    )
    result = clone.run(*MAKE, "pipeline", "PORTABLE=1")
    assert "['Nehalem'] False False" in result.stdout + result.stderr
