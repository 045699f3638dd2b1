"""YAML files, parsed once as long as they stay the same."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from src.config import yaml_file


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping, as `src.config.yaml_file.read_yaml` does.

    The record of one stage reads `params.yaml`, `dvc.yaml` and `dvc.lock` twenty times,
    and each parse takes 10 ms.

    Raises:
        ConfigError: The file is missing, empty, not YAML or not a mapping.
    """
    try:
        content = path.read_bytes()
    except OSError:
        # The other one says what is wrong.
        return yaml_file.read_yaml(path)
    return copy.deepcopy(_parse(path, content))


@lru_cache(maxsize=16)
def _parse(path: Path, _content: bytes) -> dict[str, Any]:
    return yaml_file.read_yaml(path)
