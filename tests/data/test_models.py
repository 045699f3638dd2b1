import sys
from pathlib import Path

import joblib
import pytest

from src.data.models import read_model
from src.errors import MissingInputError


class Leaver:
    """Ends Python without an error while it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return sys.exit, (0,)


def test_model_that_ends_python_is_refused(tmp_path: Path) -> None:
    joblib.dump(Leaver(), tmp_path / "model.joblib")
    with pytest.raises(MissingInputError, match=r"model\.joblib cannot be read as a joblib file \(SystemExit\(0\)\)"):
        read_model(tmp_path / "model.joblib")
