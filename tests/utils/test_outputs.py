from pathlib import Path

import pytest
import yaml

from src.config.load import load_config
from src.errors import ConfigError
from src.tracking.git import run_git
from src.tracking.journal import Execution, Journal, Snapshot
from src.tracking.process import own_key
from src.tracking.session import Place, begin_session
from src.utils import prepare
from src.utils.outputs import check_outputs
from tests.tracking.support import commit, init_repository

PLOTS = {"reports/plots/roc.png": "12345", "reports/plots/search.png": "678"}
CARD = {"reports/model_card.md": "card"}


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with settings, and a dvc.lock that names two of the outputs."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((Path(__file__).parent / "params.yaml").read_text())
    outs = [
        {"path": "reports/plots", "md5": "0" * 32 + ".dir", "size": 8},
        {"path": "reports/model_card.md", "size": 4},
    ]
    Path("dvc.lock").write_text(
        yaml.safe_dump(
            {
                "schema": "2.0",
                "stages": {"evaluate": {"cmd": "x", "outs": outs}}
                | {name: {"cmd": "x"} for name in ("data_split@a", "train")},
            }
        )
    )


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def check() -> str:
    """Check the outputs, and return the error message or an empty text."""
    try:
        check_outputs(load_config(Path("params.yaml")))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "files",
    [
        {},
        PLOTS | CARD,
        PLOTS | {"reports/plots/.DS_Store": "x", "reports/plots/.roc-abc_12xy.png": "x", "reports/notes.md": "mine"},
        # What was written before an interruption, and by other settings.
        {"reports/plots/residuals.png": "123456789"},
        {"docs/notes.md": "mine", "data/external/t.csv": "mine"},
        PLOTS | {"reports/plots/residuals.png": "1", "reports/plots/roc.json": "2"},
        # Another version of a table may have more parts.
        {"reports/plots/part-00003.parquet": "1"},
    ],
)
def test_outputs_of_stages_are_accepted(files: dict[str, str]) -> None:
    write(files)
    assert check() == ""


@pytest.mark.parametrize("name", ["models/model.joblib", "reports/metrics.json", "data/train.parquet"])
def test_file_that_no_stage_wrote_is_refused(name: str) -> None:
    write({name: "mine"})
    assert f" = '{name}' already exists, and no stage wrote it; DVC would delete it: move it away, or" in check()


def test_folder_that_no_stage_wrote_is_refused() -> None:
    text = Path("params.yaml").read_text().replace("reports/plots", "reports/mine")
    Path("params.yaml").write_text(text)
    Path("reports/mine/empty").mkdir(parents=True)
    assert check() == ""
    write({"reports/mine/deep/er/notes.png": "mine"})
    assert check() == (
        "params.yaml: evaluate.plots_dir = 'reports/mine' already exists, and no stage wrote it; DVC would delete it: "
        "move it away, or choose another path."
    )


@pytest.mark.parametrize(
    "name", ["reports/plots/notes.txt", "reports/plots/mine/roc.png", "reports/plots/my.png", "reports/plots/.notes"]
)
def test_own_file_among_the_plots_is_refused(name: str) -> None:
    write(PLOTS | {name: "mine"})
    assert check() == (
        f"params.yaml: evaluate.plots_dir = 'reports/plots' contains '{name}', which no stage wrote; DVC would delete "
        "it: move it away."
    )


def test_folder_that_a_stage_wrote_earlier_is_checked_too() -> None:
    write({"reports/old/roc.png": "1"})
    session = begin_session(Place(Path.cwd(), Path.cwd()), "s", own_key(), launched=True)
    session.snapshot = Snapshot(md5s={"reports/old": "0" * 32 + ".dir"})
    Journal(Path.cwd()).write_session(session)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("reports/plots", "reports/old"))
    assert check() == ""
    write({"reports/old/notes.md": "mine"})
    assert "contains 'reports/old/notes.md', which no stage wrote" in check()


def test_what_another_stage_wrote_is_refused() -> None:
    text = Path("params.yaml").read_text()
    assert "models/model.joblib" in text
    Path("params.yaml").write_text(text.replace("models/model.joblib", "reports/model_card.md", 1))
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(
        text.replace("model_card_path: reports/model_card.md", "model_card_path: reports/c.md")
    )
    assert check() == ""
    write(CARD)
    assert "= 'reports/model_card.md' is what stage evaluate wrote; delete it, or choose another path." in check()


def test_link_that_leads_out_of_the_repository_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    Path("reports").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert "leads through a link to another folder; remove the link." in check()


def test_link_to_nothing_is_no_output() -> None:
    Path("models").mkdir()
    Path("models/model.joblib").symlink_to("/nonexistent")
    assert "train.model_path = 'models/model.joblib' already exists" in check()


def test_output_of_an_interrupted_stage_is_accepted() -> None:
    write({"models/model.joblib": "half"})
    place, journal = Place(Path.cwd(), Path.cwd()), Journal(Path.cwd())
    session = begin_session(place, "s", own_key(), launched=False)
    journal.write_session(session)
    execution = Execution("train", own_key(), status="KILLED", sizes={"models/model.joblib": 0})
    assert "already exists" in check()
    journal.write_execution(session.id, execution)
    assert check() == ""


def test_output_that_an_earlier_lock_named_is_accepted() -> None:
    write({"models/model.joblib": "restored"})
    session = begin_session(Place(Path.cwd(), Path.cwd()), "s", own_key(), launched=True)
    session.snapshot = Snapshot(md5s={"models/model.joblib": "0" * 32})
    Journal(Path.cwd()).write_session(session)
    assert check() == ""


def test_path_without_an_entry_in_the_lock_must_be_known_too() -> None:
    Path("dvc.lock").unlink()
    write({"data/features.parquet": "mine"})
    assert "featurize.features_path = 'data/features.parquet' already exists" in check()
    # Both keep what DVC would delete.
    for command in (["init", "--quiet"], ["add", "data/features.parquet"]):
        run_git(Path.cwd(), *command)
    assert check() == ""


def test_output_that_the_committed_lock_names_is_accepted(tmp_path: Path) -> None:
    init_repository(tmp_path)
    commit(tmp_path)
    Path("dvc.lock").unlink()
    write(PLOTS)
    assert check() == ""


def test_preparation_of_bare_dvc_gives_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main() == 0
    write({"models/model.joblib": "mine"})
    assert prepare.main() == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("ConfigError: params.yaml: train.model_path = 'models/model.joblib' already exists")
