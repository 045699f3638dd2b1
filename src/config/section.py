"""Base class and common types of the sections of `params.yaml`."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from src.config.url import check_no_credentials


class Section(BaseModel):
    """Base class of all sections: frozen, no type coercion, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# Files of the user, which no stage writes.
EXTERNAL_DIR = Path("data/external")
# Most file systems allow 255 bytes for a name.
MAX_LENGTH_OF_PATH = 200
OUTPUT_DIRS = ("data", "models", "reports")


def _check_inside_repository(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise ValueError("must be a relative path inside the repository")
    if len(str(path)) > MAX_LENGTH_OF_PATH:
        raise ValueError(f"must have at most {MAX_LENGTH_OF_PATH} characters")
    if not str(path).isprintable():
        raise ValueError("must not contain line breaks or other characters that cannot be printed")
    return path


def _check_output(path: Path) -> Path:
    # DVC deletes what is at this path before it runs the stage.
    if path.parts[0] not in OUTPUT_DIRS or len(path.parts) < 2 or EXTERNAL_DIR in (path, *path.parents):
        raise ValueError(
            f"must be inside {'/, '.join(OUTPUT_DIRS[:-1])}/ or {OUTPUT_DIRS[-1]}/, but not in {EXTERNAL_DIR}/, "
            "which holds your own tables"
        )
    if not all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", part) for part in path.parts):
        raise ValueError("must consist of letters from a to z, digits, '_', '-' and '.'; no name may begin with '.'")
    return path


RepoPath = Annotated[Path, Field(strict=False), AfterValidator(_check_inside_repository)]
_OUTPUT = AfterValidator(_check_output)
OutputPath = Annotated[RepoPath, _OUTPUT]
ColumnName = Annotated[str, Field(min_length=1)]
# Masking a longer one would take quadratic time.
PublicUrl = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(check_no_credentials)]


def output_paths(section: Section) -> dict[str, Path]:
    """Return the settings of a section that name outputs."""
    fields = type(section).model_fields.items()
    return {name: getattr(section, name) for name, field in fields if _OUTPUT in field.metadata}
