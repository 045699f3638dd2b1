"""What every section of `params.yaml` is made of."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of every section: values are not coerced and cannot be changed, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _inside_repository(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise ValueError("must be a relative path inside the repository")
    return path


# `sig` of Azure, `X-Amz-Signature` and `X-Goog-Signature`, `access_token`, `api-key` and the like.
_SIGNED = (
    r"[?&;](?:[\w.%-]*[-_.])?"
    r"(?:sig|signature|credential|(?:access|api|auth|aws|secret)*(?:key|keyid|token|secret)|password|passwd|pwd|auth)="
)


def _no_credentials(url: str) -> str:
    # params.yaml is committed, and logged to every run. `ssh://git@host` tells no secret.
    if re.search("^https?://[^/]*@|://[^/]*:[^/]*@", url):
        raise ValueError("must hold no credentials; git's credential helper or an SSH key keeps them")
    if re.search(_SIGNED, url, re.IGNORECASE):
        raise ValueError(
            "must hold no credentials, and seems to be signed; use the provider's own: an s3://, gs:// or azure:// "
            "address, and the credentials in its environment or in `dvc remote modify --local`"
        )
    return url


RepoPath = Annotated[Path, Field(strict=False), AfterValidator(_inside_repository)]
ColumnName = Annotated[str, Field(min_length=1)]
PublicUrl = Annotated[str, Field(min_length=1), AfterValidator(_no_credentials)]
