import json
import subprocess
from pathlib import Path

import pytest

from src.errors import BusyError
from src.utils.exclusive import exclusive


def test_second_make_of_a_target_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with exclusive(tmp_path, "pipeline"):
        with pytest.raises(BusyError, match=r"^another `make pipeline` runs in this clone; wait"):
            exclusive(tmp_path, "pipeline").__enter__()
        with exclusive(tmp_path, "publish"):
            pass
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path, "pipeline"):
        raise ZeroDivisionError
    with exclusive(tmp_path, "pipeline"):
        pass


def test_run_beside_a_bare_dvc_is_refused_and_releases_its_lock(tmp_path: Path) -> None:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    with subprocess.Popen(["sh", "-c", "echo; read line", "dvc"], stdin=-1, stdout=-1) as dvc:
        assert dvc.stdout is not None
        dvc.stdout.readline()
        lock = {"write": {"out": {"pid": dvc.pid, "cmd": "dvc repro"}}, "read": {}}
        (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))
        with pytest.raises(BusyError, match=f"^another DVC, process {dvc.pid}, runs stages in this clone"):
            exclusive(tmp_path, "pipeline").__enter__()
        dvc.kill()
    with exclusive(tmp_path, "pipeline"):
        pass
