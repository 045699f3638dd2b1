"""Keep credentials out of URLs: refuse them in settings, mask them in what is shown."""

import re
import sys
from urllib.parse import unquote, urlsplit

# Schemes whose user name is no secret.
SSH = ("ssh", "git+ssh", "sftp")
# Not with urlsplit: SQLAlchemy accepts passwords with an unencoded /, ? or #. Some tools accept a single slash.
CREDENTIALS = re.compile(r"(?:(?<=://)|(?<=:/)(?!/))[^:/@]*(?::.*)?@")
# Unlike the letter of a drive.
_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):[/\\]{1,2}")
# In `user:password@host`, but neither in `git@host:path` nor in `C:\path`.
_PASSWORD = re.compile(r"[^/\\@]*:[^/\\@]*@")
# What the name of a parameter that holds a secret has as a word (`X-Amz-Credential`, `AWSAccessKeyId`, `sig`), has at
# the end of a word or of all words (`phpsessid`, `api_keys`), or is. `keys_only` and `country_code` are harmless.
_SECRET_WORDS = {
    "auth", "authorization", "bearer", "cookie", "cookies", "credential", "credentials", "hdnea", "hdnts", "hmac",
    "jwt", "key", "keyid", "oauth", "otp", "pass", "passphrase", "pin", "psw", "pswd", "pw", "sas", "sid", "sig",
    "signed", "ticket", "tok",
}  # fmt: skip
_SECRET_ENDS = (
    "accesskey", "accountkey", "apikey", "authkey", "functionkey", "masterkey", "privatekey", "secretkey", "sessionkey",
    "sharedkey", "subscriptionkey", "accesscode", "authcode", "passcode", "passwd", "password", "pwd", "secret",
    "sessid", "sessionid", "signature", "token",
)  # fmt: skip
_SECRET_NAMES = ("code", "session")
# JSON Web Tokens, and keys of AWS, GitHub, GitLab, Google, Hugging Face, Slack and Stripe.
_SECRET_VALUES = ("eyJ", "AKIA", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "AIza", "hf_", "xox", "sk_live_")


# What follows the scheme in the URL of a remote.
_PLACES = {"s3": "bucket", "gs": "bucket", "azure": "container", "ssh": "host"}


def check_no_credentials(url: str) -> str:
    """Return a URL, a path or `git@host:path` if it contains no credentials: params.yaml is committed and logged.

    Raises:
        ValueError: It has a user with a password or outside of SSH, a parameter that looks like a secret, or a
            fragment.
    """
    text = _decode(url)
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    parts = urlsplit(f"//{rest}") if scheme else None
    user, has_user, _ = parts.netloc.rpartition("@") if parts else ("", "", "")
    try:
        # An unencoded slash in a password makes it look like a port.
        _ = parts and parts.port
        is_port = True
    except ValueError:
        is_port = False
    is_public = not has_user or (scheme and scheme[1].lower() in SSH and ":" not in user)
    if not is_port or not is_public or _PASSWORD.match(rest.lstrip("/\\")):
        raise ValueError("must not contain credentials; use git's credential helper or an SSH key")
    if scheme and "#" in url:
        raise ValueError("must not contain a fragment, which may hold a token and which no server reads; remove the #…")
    for parameter in re.split("[?&;]", text)[1:]:
        name, _, value = parameter.partition("=")
        if names_secret(name) or name.startswith(_SECRET_VALUES) or value.startswith(_SECRET_VALUES):
            raise ValueError(
                "must not contain credentials, and this URL looks signed; use an s3://, gs:// or azure:// URL and set "
                "the credentials in the environment or with `dvc remote modify --local`"
            )
        check_no_credentials(value)
    return url


def check_remote(url: str) -> str:
    """Return the URL of a DVC remote if it names a bucket, container or host; DVC would fail at the first push.

    Raises:
        ValueError: It names none.
    """
    scheme = re.match(r"(s3|gs|azure|ssh):", url, re.IGNORECASE)
    if scheme and not re.match(r"(s3|gs|azure|ssh)://[^/\s?#\\]", url):
        name = scheme[1].lower()
        raise ValueError(f"names no {_PLACES[name]}; write {name}://{_PLACES[name]}/path")
    return url


def names_secret(name: str) -> bool:
    """Return whether a parameter of a URL holds a secret, by its name."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", _decode(name))]
    whole = "".join(words)
    ends = any(word.removesuffix("s").endswith(_SECRET_ENDS) for word in (*words, whole))
    return ends or whole in _SECRET_NAMES or not _SECRET_WORDS.isdisjoint(words)


def mask_url(url: str) -> str:
    """Mask the credentials, the values of all parameters and the fragment of a URL; a path is returned as it is.

    >>> mask_url("https://ann:pw@host/t.csv?sas=x&format=csv#y")
    'https://***@host/t.csv?sas=***&format=***#***'
    """
    if not _SCHEME.match(url):
        return _PASSWORD.sub("***@", url, count=1) if _PASSWORD.match(url) else url
    url = CREDENTIALS.sub("***@", url)
    if not url.startswith("sqlite"):
        # In the path of a database, # is an ordinary letter.
        url = re.sub("#.*", "#***", url, flags=re.DOTALL)
    return re.sub(r"([?&;])([^?&;=#]*=)?[^?&;#]+", r"\1\2***", url)


def mask_urls(text: str) -> str:
    """Mask all URLs in a text."""
    return re.sub(r"\b[\w+.%-]+:[^\s'\"<>]+", lambda match: mask_url(match[0]), text)


def _decode(text: str) -> str:
    """Decode a URL, which may be encoded more than once, without the characters that clients leave out or ignore."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return "".join(letter for letter in text if letter.isprintable() and letter != " ")


if __name__ == "__main__":
    # `make remote` writes both to .dvc/config, which is committed.
    for name, url in zip(("URL", "ENDPOINT"), sys.argv[1:], strict=False):
        try:
            check_no_credentials(url)
            check_remote(url)
        except ValueError as error:
            sys.exit(f"{name} {error}; see docs/how-to/share.md.")
