"""Stages that are asked for while the server still imports."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm.conftest import PROBE, Workshop, copy_code, start_workshop

SECONDS = 6
SEEN = "import sys; print('src.stages.data_split' in sys.modules, 'src.stages.evaluate' in sys.modules)"


@pytest.fixture
def early_workshop(tmp_path: Path) -> Iterator[Workshop]:
    """Give a server that imports the last stage for seconds, and has just begun."""
    copy_code(tmp_path)
    (tmp_path / "src/stages/evaluate.py").write_text(f"import time\ntime.sleep({SECONDS})\n")
    # Known to the server, and yet it runs what it is told.
    (tmp_path / "src/stages/data_split.py").write_text(
        f"if __name__ == '__main__':\n    {PROBE.splitlines()[0]}\n    exec(sys.argv[1])\n"
    )
    with start_workshop(tmp_path) as workshop:
        yield workshop


def start(workshop: Workshop, stage: str, code: str) -> "subprocess.Popen[str]":
    environ = workshop.environ | {"PIPELINE_WARM": workshop.server}
    command = [sys.executable, "-m", f"src.stages.{stage}", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=workshop.path, env=environ, stdout=pipe, stderr=pipe, text=True)


def test_stage_waits_for_its_own_group_and_hears_of_its_end_at_once(early_workshop: Workshop) -> None:
    above = "import os; print('src.warm.server' in open(f'/proc/{os.getppid()}/cmdline').read()); "
    started = time.monotonic()
    with start(early_workshop, "data_split", above + SEEN) as process:
        out, err = process.communicate(timeout=60)
    # It is not in sys.modules under its own name: it runs as __main__.
    assert (out, err) == ("True\nFalse False\n", "")
    # The server sleeps on.
    assert time.monotonic() - started < SECONDS
    # What no group names may need all of them.
    assert early_workshop.run(SEEN)[1] == "True True\n"


def test_signal_reaches_a_stage_while_another_waits_for_its_imports(early_workshop: Workshop, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (early_workshop.path / "src/stages/train.py").write_text("import time\ntime.sleep(3)\n")
    with (
        start(early_workshop, "data_split", "import time; print(flush=True); time.sleep(60)") as process,
        start(early_workshop, "probe", f"open({str(begun)!r}, 'a').close()") as waiting,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
        # The last import is still to come, or on its way.
        assert not begun.exists()
        assert waiting.communicate(timeout=60) == ("", "")
    assert begun.exists()


def test_command_that_is_stopped_while_it_waits_ends_though_another_goes_on(early_workshop: Workshop) -> None:
    with (
        start(early_workshop, "data_split", "import time; print(flush=True); time.sleep(60)") as first,
        start(early_workshop, "probe", "") as second,
    ):
        # Asked for while the first waited too.
        assert first.stdout is not None
        first.stdout.readline()
        second.terminate()
        assert second.wait(3 * SECONDS) == -signal.SIGTERM
        assert first.poll() is None
        first.terminate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_command_that_is_stopped_while_it_waits_is_never_begun(
    early_workshop: Workshop, tmp_path: Path, number: signal.Signals
) -> None:
    begun = tmp_path / "begun"
    with start(early_workshop, "probe", f"open({str(begun)!r}, 'a').close()") as process:
        # Not before it listens to signals, and not after all is imported.
        time.sleep(3)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == -number
    assert early_workshop.is_warm()
    assert not begun.exists()
