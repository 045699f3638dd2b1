"""Pages in headless Chromium, on a repository in which the pipeline has run several times."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.clone import ROOT, Clone, fresh_clone, wait_for
from tests.pipeline.server import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# The default last, so that the pictures show it.
ESTIMATORS = ("knn", "svm", "random_forest", "logreg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, help="folder for the pictures of the pages, by default a temporary one")


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for pictures."""
    folder: Path = request.config.getoption("--pictures", None) or tmp_path_factory.mktemp("pictures")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Start the Chromium of this system."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        pytest.fail("no Chromium was found; on Debian or Ubuntu: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container rarely has.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Train four estimators under a name each, and commit two of them."""
    clone = fresh_clone(tmp_path_factory.mktemp("browser") / "iris")
    for estimator in ESTIMATORS:
        clone.edit("params.yaml", r"^  estimator: \w+", f"  estimator: {estimator}")
        clone.launch("--name", estimator)
        clone.git("commit", "--quiet", "--all", "--allow-empty", "--message", f"Train {estimator}")
    return clone


@pytest.fixture(scope="session")
def ui(clone: Clone) -> Iterator[str]:
    """Run `make ui`, and return the address that it prints."""
    process = clone.start("python", "-m", "src.utils.start_ui")
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("http"))
        yield line.split()[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def endpoint(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the model of the workspace, and return the address of the endpoint."""
    port, log = free_port(), tmp_path_factory.mktemp("endpoint") / "log"
    process = clone.start("sh", "-c", f"exec python -m src.service.endpoint.start --port {port} 2>{log}")
    try:
        wait_for(lambda: (log.exists() and "serving on" in log.read_text()) or process.poll() is not None)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder), "-f", "mkdocs.yaml"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder
