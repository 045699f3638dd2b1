import base64
import hashlib
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from src.config.train import SCORINGS, metric_of
from src.errors import VersionError
from src.utils.start_ui import ADDRESS
from src.versions.compare import Version, compare, compare_metrics
from src.versions.revision import Revision
from tests.versions.project import Project
from tests.versions.runs import EXPERIMENT, parent_of

PNG = b"\x89PNG\r\n\x1a\n"
ODD = "<script>alert(1)<"


def page_of(project: Project) -> str:
    return (project.root / "reports/compare/index.html").read_text(encoding="utf-8")


def picture(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(PNG + content).decode()}"


@pytest.fixture
def drawn(project: Project) -> Project:
    """Commit two versions with pictures: `a` has one more than `b`."""
    with (project.root / "make.py").open("a") as file:
        file.write(f"png = {PNG!r}\nPath('plots/curve.png').write_bytes(png + str(scale).encode())\n")
        file.write("if scale == 1:\n    Path('plots/only_a.png').write_bytes(png + b'only')\n")
    for scale, tag in ((1, "a"), (2, "b")):
        project.set_scale(scale)
        project.dvc("repro", "--quiet")
        project.commit()
        project.git("tag", tag)
    return project


def test_two_versions_are_shown_side_by_side(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    compare(project.root, "v1.0.0", "v1.1.0", EXPERIMENT)
    text = capfd.readouterr().out
    runs = [parent_of(project, tag).info for tag in ("v1.0.0", "v1.1.0")]
    lines = text.splitlines()
    assert lines[:-1] == [
        "setting      v1.0.0  v1.1.0",
        "train.scale  1       2",
        "",
        "metric     v1.0.0  v1.1.0  difference",
        "f1         0.6000  0.7000  +0.1000     better",
        "classes.a  1.0000  2       +1.0000",
        "",
        "Page:   reports/compare/index.html",
        "Curves: dvc plots diff v1.0.0 v1.1.0",
    ]
    start, _, query = lines[-1].partition("?")
    assert start == "Runs:   run `make ui`, and add to its address: /#/compare-runs"
    assert parse_qs(query) == {
        "runs": [json.dumps([run.run_id for run in runs])],
        "experiments": [json.dumps([runs[0].experiment_id])],
        "workflowType": ["machine_learning"],
    }
    page = page_of(project)
    assert "Neither version has pictures." in page
    assert re.search(r"train.scale</th><td>1</td><td>2</td>", page)
    assert project.git("status", "--porcelain") == ""


def test_link_opens_where_the_ui_runs(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    class Ui(BaseHTTPRequestHandler):
        """Answer as MLflow's UI."""

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(b"OK")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Ui) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        (project.root / ADDRESS).parent.mkdir(parents=True, exist_ok=True)
        (project.root / ADDRESS).write_text(address)
        try:
            compare(project.root, "v1.0.0", "v1.1.0", EXPERIMENT)
        finally:
            server.shutdown()
            thread.join()
    assert f"Runs:   {address}/#/compare-runs?runs=" in capfd.readouterr().out


def test_page_has_the_pictures_of_both_versions_and_needs_no_network(drawn: Project) -> None:
    compare(drawn.root, "a", "b", None)
    page = page_of(drawn)
    assert page.count(picture(b"1")) == page.count(picture(b"2")) == page.count(picture(b"only")) == 1
    assert page.count("b has no such picture.") == 1
    assert page.index(picture(b"1")) < page.index(picture(b"2"))
    # Only pictures are loaded, and all of them are in the page.
    assert re.findall(r'(?:src|href)="(?!data:)|url\(', page) == []
    assert "http" not in page
    compare(drawn.root, "a", "b", None)
    assert page_of(drawn) == page


def test_pictures_come_from_the_remote_if_the_cache_is_empty(drawn: Project) -> None:
    for tag in ("a", "b"):
        drawn.go_to(tag)
        drawn.dvc("push", "--quiet")
    shutil.rmtree(drawn.root / ".dvc/cache")
    compare(drawn.root, "a", "b", None)
    page = page_of(drawn)
    assert picture(b"1") in page
    assert picture(b"2") in page


def test_missing_pictures_are_named_on_the_page(drawn: Project) -> None:
    # The folder's list of `a` is lost, and one picture of `b`.
    drawn.stored("plots", "a").unlink()
    md5 = hashlib.md5(PNG + b"2", usedforsecurity=False).hexdigest()
    (drawn.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    compare(drawn.root, "a", "b", None)
    page = page_of(drawn)
    assert page.count("Neither DVC&#39;s cache nor its remote has the picture.") == 2
    assert "data:image" not in page
    drawn.stored("plots", "b").unlink()
    compare(drawn.root, "a", "b", None)
    assert "a and b: Neither DVC&#39;s cache nor its remote has the picture." in page_of(drawn)


def test_any_text_of_a_version_is_shown_as_text(drawn: Project, capfd: pytest.CaptureFixture[str]) -> None:
    odd = f"{ODD}{'x' * 500} $HOME\\n"
    text = (drawn.root / "params.yaml").read_text().replace("options: {}", f"options: {{{odd!r}: {odd!r}}}")
    (drawn.root / "params.yaml").write_text(text)
    with (drawn.root / "make.py").open("a") as file:
        file.write(f"Path('metrics.json').write_text(json.dumps({{'f1 {ODD}': 1, 'f1': 1e-12}}))\n")
        file.write("Path('plots/<i>x.png').write_bytes(png)\n")
    drawn.dvc("repro", "--quiet")
    drawn.commit()
    drawn.git("branch", "<b>odd")
    compare(drawn.root, "b", "<b>odd", None)
    page = page_of(drawn)
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert "Curves: dvc plots diff b '<b>odd'" in lines


@pytest.mark.parametrize(
    ("name", "before", "after", "verdict"),
    [
        ("test_f1_macro", 0.5, 0.6, "better"),
        ("test_recall_class.a", 0.5, 0.4, "worse"),
        ("test_rmse", 2.0, 1.0, "better"),
        ("test_log_loss", 1.0, 2.0, "worse"),
        ("cv_neg_log_loss_mean", -1.0, -0.5, "better"),
        ("cv_f1_macro_std", 0.1, 0.2, ""),
        ("test_f1_macro_baseline", 0.1, 0.2, ""),
        ("test_rmse_ci95_low", 0.1, 0.2, ""),
        ("test_support_class.a", 1.0, 2.0, ""),
        ("own_metric", 1.0, 2.0, ""),
    ],
)
def test_verdict_depends_on_the_direction_of_a_metric(name: str, before: float, after: float, verdict: str) -> None:
    a, b = (Version("v", "c", Revision({}, {}, {}, {name: value}, {}, {}), {}) for value in (before, after))
    (found,) = compare_metrics(a, b)
    assert found.verdict == verdict


def test_each_metric_of_the_project_has_a_direction() -> None:
    for task in SCORINGS:
        for scoring in SCORINGS[task]:
            for name in (f"test_{metric_of(scoring)}", f"cv_{scoring}_mean"):
                a, b = (Version("v", "c", Revision({}, {}, {}, {name: value}, {}, {}), {}) for value in (0.0, 1.0))
                assert compare_metrics(a, b)[0].verdict, name


def test_small_difference_is_shown_and_the_score_of_the_search_comes_first() -> None:
    params = {"train": {"scoring": "r2"}}
    values = ({"test_mae": 1.0, "test_r2": 0.5, "only": 1.0}, {"test_mae": 1.0 + 1e-9, "test_r2": 0.75})
    a, b = (Version("v", "c", Revision({}, {}, {}, metrics, params, {}), {}) for metrics in values)
    rows = [(each.name, each.before, each.after, each.change, each.verdict) for each in compare_metrics(a, b)]
    assert rows == [
        ("test_r2", "0.5000", "0.7500", "+0.2500", "better"),
        ("test_mae", "1.0000", "1.0000", "+1e-09", "worse"),
        ("only", "1.0000", "-", "", ""),
    ]


def test_version_without_a_run_has_no_link_but_is_compared(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    compare(project.root, "v1.0.0", "main", EXPERIMENT)
    text = capfd.readouterr().out
    assert "Runs:   unknown: MLflow has no parent run of one of them" in text
    assert re.search(r"train.scale +1 +3", text)


def test_no_link_without_an_experiment(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    compare(project.root, "v1.0.0", "v1.0.0", None)
    text = capfd.readouterr().out
    assert "Runs:" not in text
    assert text.startswith("no setting differs\n\nno metric differs\n")


def test_unusable_store_is_named(
    project: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://host")
    compare(project.root, "v1.0.0", "v1.0.0", EXPERIMENT)
    assert "Runs:   unknown: MLflow store nonsense://host" in capfd.readouterr().out


def test_unknown_version_is_refused(project: Project) -> None:
    with pytest.raises(VersionError, match="'--help' is not a tag, branch or commit"):
        compare(project.root, "v1.0.0", "--help", None)
