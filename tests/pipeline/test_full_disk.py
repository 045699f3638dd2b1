"""Restore versions on a full disk: a file system of a few MB in its own mount namespace."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.clone import Clone
from tests.pipeline.versions import recorded

# The mount disappears with the process.
IN_NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-euc")
BIN = Path(sys.executable).parent
RESTORE = f"code=0; make -o install BIN='{BIN}' restore TAG=v1.0.0 || code=$?"
# Without optional locks, `git status` does not write the index.
SHOW_STATE = """
    echo "code $code, branch $(git branch --show-current)"
    git --no-optional-locks status --porcelain
    find . -name "*.tmp" -not -path "./.dvc/*"
"""


def can_mount(path: Path) -> bool:
    path.mkdir()
    command = [*IN_NAMESPACE, f"mount -t tmpfs tmpfs '{path}'"]
    try:
        return not subprocess.run(command, check=False, capture_output=True).returncode
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "free_kb", "reason"),
    [
        ("true", 60, "fetching from DVC's remote failed, see above"),
        ("true", 1400, "restoring needs at least 1 MB besides the data"),
        # The data fits into the cache, but not into the workspace.
        (
            "git checkout --quiet v1.0.0 && dvc fetch --quiet && git checkout --quiet main",
            1110,
            "`dvc checkout` failed",
        ),
    ],
)
def test_restore_on_a_full_disk_changes_nothing_and_works_with_more_space(
    elsewhere: Clone, two_versions: Path, tmp_path: Path, before: str, free_kb: int, reason: str
) -> None:
    small = tmp_path / "small"
    if not can_mount(small):
        pytest.skip("this system allows only root to mount a file system")
    script = f"""
        mount -t tmpfs -o size=20m tmpfs '{small}'; cd '{small}'
        git clone --quiet '{tmp_path / "origin.git"}' .
        {before}
        head -c $(($(df -k --output=avail . | tail -n 1) - {free_kb}))K /dev/zero >.git/filler
        {RESTORE}
        {SHOW_STATE}
        rm .git/filler
        {RESTORE}
        {SHOW_STATE}
        dvc status
        md5sum data/raw/*.* data/processed/*.* models/* reports/*.*
    """
    result = elsewhere.run(*IN_NAMESPACE, script)
    first, _, second = result.stdout.partition("code 0")
    assert first == "code 2, branch main\n"
    assert second.startswith(", branch \nData and pipelines are up to date.\n")
    assert f"VersionError: {reason}" in result.stderr
    assert re.search(r"No space left on device|with \d\d? kB free on the disk", result.stderr)
    assert "Traceback" not in result.stderr
    restored = {line.split()[1]: line.split()[0] for line in second.splitlines()[2:]}
    assert restored == recorded(two_versions, "v1.0.0")
