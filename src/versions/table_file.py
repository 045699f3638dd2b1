"""How the table of the workspace or of a version is written: rows to predict are written alike."""

from contextlib import nullcontext
from pathlib import Path

from pydantic import ValidationError

from src.config.data_load import TableFile
from src.config.yaml_file import read_yaml
from src.errors import ConfigError
from src.tracking.experiments import experiment_files
from src.versions.commands import find_commit


def load_table_file(root: Path, revision: str | None = None) -> TableFile:
    """Read what `data_load.source` says of the text that the model was fitted on.

    Only that is read: settings of an older version may not be those of today.

    Args:
        root: Root of the repository.
        revision: A tag, branch or commit; None takes the workspace.

    Returns:
        The settings; the default ones if rows came from no file.

    Raises:
        ConfigError: They cannot be read.
        VersionError: There is no such revision.
    """
    files = nullcontext(root) if revision is None else experiment_files(root, find_commit(root, revision))
    with files as folder:
        path = folder / "params.yaml"
        content = read_yaml(path) if path.exists() else {}
    section = content.get("data_load")
    source = section.get("source") if isinstance(section, dict) else None
    if not isinstance(source, dict):
        return TableFile()
    try:
        return TableFile.model_validate({key: source[key] for key in TableFile.model_fields if key in source})
    except ValidationError as error:
        of = f" of {revision}" if revision else ""
        keys = ", ".join(str(detail["loc"][0]) for detail in error.errors())
        raise ConfigError(f"params.yaml{of}: data_load.source: {keys} is not as it must be.") from None
