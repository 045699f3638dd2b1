"""Imports between two databases; those to a server are in test_team_server."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from mlflow import MlflowClient

from src.service.server.import_runs import import_store

pytestmark = pytest.mark.slow


def test_registered_models_are_copied_from_a_store_without_runs(tmp_path: Path) -> None:
    here, there = (f"sqlite:///{tmp_path / name}.db" for name in ("here", "there"))
    client = MlflowClient(here)
    client.create_registered_model("iris", tags={"team": "flowers"})
    client.create_model_version("iris", "s3://bucket/model")
    client.set_registered_model_alias("iris", "champion", "1")
    with patch.dict(os.environ):
        assert import_store(here, there) == {"runs": (0, 0), "logged models": (0, 0), "registered versions": (1, 1)}
    assert MlflowClient(there).get_registered_model("iris").tags == {"team": "flowers"}
    assert MlflowClient(there).get_model_version_by_alias("iris", "champion").source == "s3://bucket/model"
