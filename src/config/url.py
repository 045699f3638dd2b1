"""Keep credentials out of URLs: refuse them in settings, mask them in what is shown."""

import re
import sys
from urllib.parse import unquote, urlsplit

# Schemes whose user name is no secret.
SSH = ("ssh", "git+ssh", "sftp")
# Not with urlsplit: SQLAlchemy accepts passwords with an unencoded /, ? or #.
CREDENTIALS = re.compile(r"(?<=://)[^:/@]*(?::.*)?@")
# Words in the name of a parameter that holds a secret: `X-Amz-Signature`, `AWSAccessKeyId`, `sig`.
_SECRET_WORDS = {
    "auth", "authorization", "bearer", "credential", "credentials", "jwt", "key", "keyid", "otp", "pass", "passphrase",
    "pw", "pwd", "sas", "sig",
}  # fmt: skip
_SECRET_ENDS = ("accesskey", "apikey", "passwd", "password", "secret", "signature", "token")


def check_no_credentials(url: str) -> str:
    """Return a URL, a path or `git@host:path` if it contains no credentials: params.yaml is committed and logged.

    Raises:
        ValueError: It has a user with a password or outside of SSH, a parameter that looks like a secret, or a
            fragment.
    """
    scheme, _, rest = url.partition("://")
    if not rest:
        return url
    parts = urlsplit(url)
    user, has_user, _ = parts.netloc.rpartition("@")
    try:
        # An unencoded slash in a password makes it look like a port.
        _ = parts.port
        is_port = True
    except ValueError:
        is_port = False
    if not is_port or ":" in user or (has_user and scheme.lower() not in SSH):
        raise ValueError("must not contain credentials; use git's credential helper or an SSH key")
    if "#" in rest:
        raise ValueError("must not contain a fragment, which may hold a token and which no server reads; remove the #…")
    for parameter in re.split("[?&;]", rest)[1:]:
        name, _, value = (_decode(part) for part in parameter.partition("="))
        if _names_secret(name) or value.startswith("eyJ"):  # a JSON Web Token
            raise ValueError(
                "must not contain credentials, and this URL looks signed; use an s3://, gs:// or azure:// URL and set "
                "the credentials in the environment or with `dvc remote modify --local`"
            )
        check_no_credentials(value)
    return url


def mask_url(url: str) -> str:
    """Mask the credentials, the values of all parameters and the fragment of a URL; a path is returned as it is.

    >>> mask_url("https://ann:pw@host/t.csv?sas=x&format=csv#y")
    'https://***@host/t.csv?sas=***&format=***#***'
    """
    if "://" not in url:
        return url
    url = CREDENTIALS.sub("***@", url)
    if not url.startswith("sqlite"):
        # In the path of a database, # is an ordinary letter.
        url = re.sub("#.*", "#***", url, flags=re.DOTALL)
    return re.sub(r"([?&;])([^?&;=#]*=)?[^?&;#]+", r"\1\2***", url)


def mask_urls(text: str) -> str:
    """Mask all URLs in a text."""
    return re.sub(r"\b[A-Za-z][\w+.-]*://[^\s'\"<>]+", lambda match: mask_url(match[0]), text)


def _decode(text: str) -> str:
    """Decode a part of a URL, which may be encoded more than once."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return text


def _names_secret(name: str) -> bool:
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    # A code is a secret by itself (Azure Functions, OAuth), but not a `country_code`.
    return bool(words & _SECRET_WORDS) or name.lower() == "code" or any(word.endswith(_SECRET_ENDS) for word in words)


if __name__ == "__main__":
    # `make remote` writes the URL to .dvc/config, which is committed.
    try:
        check_no_credentials(sys.argv[1])
    except ValueError as error:
        sys.exit(f"URL {error}; see docs/how-to/share.md.")
