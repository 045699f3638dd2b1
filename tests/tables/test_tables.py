import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.models import read_model
from src.predict import predict_file
from tests.tables.running import run_stages
from tests.tables.tables import MAKERS, N_FEW_ROWS, NAMES, make_table, read_params


@pytest.mark.parametrize("name", NAMES)
def test_table_gives_a_model_and_a_report_by_its_settings_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_table(name, tmp_path, N_FEW_ROWS)
    config = run_stages(read_params(name))
    metrics = json.loads(config.evaluate.metrics_path.read_text())
    (baseline,) = (key for key in metrics if key.endswith("_baseline") and key.startswith("test_"))
    gain = metrics[baseline.removesuffix("_baseline")] - metrics[baseline]
    assert (-gain if "error" in config.train.scoring else gain) > 0
    assert config.evaluate.model_card_path.read_text().startswith("# ")
    assert list(config.evaluate.plots_dir.glob("*.png"))

    # The model, given raw rows, is the model that was evaluated on featurized ones.
    model = read_model(config.train.model_path)
    raw = pd.read_parquet(config.data_load.dataset_path)
    featurized = pd.read_parquet(config.featurize.features_path)
    y_pred = model.predict(raw)
    assert list(y_pred) == list(model[1:].predict(featurized))

    # And so it is on a file as a user has it.
    source = config.data_load.external_path if name in MAKERS and name not in ("visits", "diamonds") else None
    rows = tmp_path / "rows.csv"
    (pd.read_csv(source) if source else raw).to_csv(rows, index=False)
    n_rows = predict_file(model, rows, tmp_path / "predictions.parquet")
    assert n_rows >= len(raw)
    if n_rows == len(raw):
        predicted = pd.read_parquet(tmp_path / "predictions.parquet")["prediction"]
        if config.base.task == "regression":
            assert np.allclose(predicted, y_pred)
        else:
            assert list(predicted) == list(y_pred)


def test_settings_differ_from_those_of_iris_in_what_a_user_edits_only() -> None:
    paths = {
        (section, key)
        for name in NAMES
        for section, settings in read_params(name).items()
        for key in settings
        if key.endswith(("_path", "_dir")) and settings[key] != read_params("iris")[section][key]
    }
    assert paths <= {("data_load", "external_path")}
