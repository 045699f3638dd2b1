"""Base class and common types of the sections of `params.yaml`."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base class of all sections: frozen, no type coercion, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _check_inside_repository(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise ValueError("must be a relative path inside the repository")
    return path


# `sig` of Azure, `X-Amz-Signature` and `X-Goog-Signature`, `access_token`, `api-key` and similar.
_SIGNATURE = (
    r"[?&;](?:[\w.%-]*[-_.])?"
    r"(?:sig|signature|credential|(?:access|api|auth|aws|secret)*(?:key|keyid|token|secret)|password|passwd|pwd|auth)="
)


def _check_no_credentials(url: str) -> str:
    # params.yaml is committed and logged to MLflow. `ssh://git@host` contains no secret.
    if re.search("^https?://[^/]*@|://[^/]*:[^/]*@", url):
        raise ValueError("must not contain credentials; use git's credential helper or an SSH key")
    if re.search(_SIGNATURE, url, re.IGNORECASE):
        raise ValueError(
            "must not contain credentials, and this URL looks signed; use an s3://, gs:// or azure:// URL and set the "
            "credentials in the environment or with `dvc remote modify --local`"
        )
    return url


RepoPath = Annotated[Path, Field(strict=False), AfterValidator(_check_inside_repository)]
ColumnName = Annotated[str, Field(min_length=1)]
PublicUrl = Annotated[str, Field(min_length=1), AfterValidator(_check_no_credentials)]
