import sys
from pathlib import Path

import pytest

import src.data.kinds
import src.featurize.features
from src.config.data_load import TableFile
from src.errors import ConfigError, FeatureError, VersionError
from src.versions.load import load_model, load_run, load_table, load_table_file
from tests.versions.project import Project, damage


def test_model_of_a_tag_computes_with_the_code_of_its_commit(project: Project) -> None:
    # The workspace computes in another way by now.
    (project.root / "src/data/kinds.py").write_text("FACTOR = 99\n")
    today = (src.featurize.features, src.data.kinds)
    prepare, scale = load_model(project.root, "v1.1.0")
    assert (prepare(4), scale) == (40, 2)
    assert (src.featurize.features, src.data.kinds) == today
    assert (sys.modules["src.featurize.features"], sys.modules["src.data.kinds"]) == today
    with pytest.raises(FeatureError):
        prepare(None)


def test_model_of_an_older_layout_is_loaded(project: Project) -> None:
    features = (project.root / "src/featurize/features.py").read_text()
    project.git("rm", "--quiet", "-r", "src/featurize")
    (project.root / "src/data/features.py").write_text(features)
    script = project.root / "make.py"
    script.write_text(script.read_text().replace("src.featurize.features", "src.data.features"))
    project.dvc("repro", "--quiet")
    project.commit("Keep the features elsewhere")
    prepare, scale = load_model(project.root, "HEAD")
    assert (prepare.__module__, prepare(4), scale) == ("src.data.features", 40, 3)


def test_model_comes_from_the_remote_where_the_cache_lacks_it(fresh: Project) -> None:
    _, scale = load_model(fresh.root, "v1.0.0")
    assert scale == 1
    assert not (fresh.root / "models").exists()


def test_damaged_or_lost_model_is_refused(project: Project) -> None:
    cached, remote = (project.stored("models/model.joblib", "v1.0.0", remote=where) for where in (False, True))
    damage(cached)
    with pytest.raises(VersionError, match=r"^models/model.joblib of v1.0.0: the copy is damaged: its MD5 is not the "):
        load_model(project.root, "v1.0.0")
    cached.unlink()
    remote.unlink()
    with pytest.raises(VersionError, match=r"^models/model.joblib of v1.0.0: .* in neither DVC's cache nor its remote"):
        load_model(project.root, "v1.0.0")


def test_revision_without_a_model_is_refused(project: Project) -> None:
    project.git("rm", "--quiet", "dvc.lock")
    project.commit()
    with pytest.raises(VersionError, match=r"^HEAD has no model"):
        load_model(project.root, "HEAD")
    with pytest.raises(VersionError, match=r"'v9\.9\.9' is not a tag, branch or commit"):
        load_model(project.root, "v9.9.9")


def test_model_that_needs_code_which_its_commit_lacks_is_refused(project: Project) -> None:
    project.git("rm", "--quiet", "src/featurize/features.py")
    project.commit()
    with pytest.raises(Exception, match=r"has no src\.featurize\.features"):
        load_model(project.root, "HEAD")


def test_settings_of_the_training_table_are_those_of_the_revision(project: Project) -> None:
    (project.root / "params.yaml").write_text("data_load: {source: {kind: sklearn, name: iris}}\n")
    assert load_table_file(project.root) == TableFile()
    assert load_table_file(project.root, "v1.0.0") == TableFile(separator=";")


def test_settings_in_another_encoding_are_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("data_load: {}\n".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"params\.yaml cannot be read as UTF-8 text: .*; save it as UTF-8"):
        load_table_file(tmp_path)


# --- the record and the tables ---


def test_record_of_a_tag_has_settings_metrics_and_hashes(project: Project) -> None:
    run = load_run(project.root, "v1.1.0")
    assert (run.label, run.commit) == ("v1.1.0", project.git("rev-parse", "v1.1.0^{commit}"))
    assert (run.params["train"]["scale"], run.metrics) == (2, {"f1": 0.7, "classes.a": 2.0})
    assert run.md5s == project.recorded("v1.1.0")


def test_record_of_the_workspace_is_that_of_its_files(project: Project) -> None:
    project.set_scale(9)
    run = load_run(project.root)
    assert (run.label, run.commit, run.params["train"]["scale"]) == ("workspace", None, 9)
    assert run.metrics["f1"] == 0.8


def test_table_of_a_tag_or_of_the_workspace_is_loaded(project: Project, fresh: Project) -> None:
    assert load_table(project.root, "v1.0.0", "table.parquet")["size"].tolist() == [1.0, 2.5]
    assert load_table(project.root, None, "table.parquet")["size"].tolist() == [3.0, 2.5]
    # From DVC's remote.
    assert load_table(fresh.root, "v1.1.0", "table.parquet")["size"].tolist() == [2.0, 2.5]
    assert not (fresh.root / "table.parquet").exists()


@pytest.mark.parametrize(("reference", "label"), [("v1.0.0", "v1.0.0"), (None, "workspace")])
@pytest.mark.parametrize("table", ["test", "no.parquet"])
def test_table_that_a_version_does_not_have_is_refused(
    project: Project, reference: str | None, label: str, table: str
) -> None:
    with pytest.raises(VersionError, match=rf"^{label} has no table .*; it has models/model.joblib, table.parquet, "):
        load_table(project.root, reference, table)
