"""Base class and common types of the sections of `params.yaml`."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from src.config.url import check_no_credentials


class Section(BaseModel):
    """Base class of all sections: frozen, no type coercion, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _check_inside_repository(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise ValueError("must be a relative path inside the repository")
    return path


RepoPath = Annotated[Path, Field(strict=False), AfterValidator(_check_inside_repository)]
ColumnName = Annotated[str, Field(min_length=1)]
PublicUrl = Annotated[str, Field(min_length=1), AfterValidator(check_no_credentials)]
