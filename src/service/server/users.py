"""Users of the tracking server: `python -m src.service.server.users add NAME [--admin] [--grant LEVEL [WHAT]]`."""

import argparse
import getpass
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.load import load_config
from src.errors import TrackingError
from src.service.server.settings import FILE, MIN_PASSWORD, read_settings
from src.text import format_table, one_line
from src.tracking.names import MLFLOW_TRACKING_URI
from src.tracking.store import AGAIN_HINT, TIMEOUTS, explain
from src.utils.command import command

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient

PASSWORD = "SERVER_USER_PASSWORD"  # noqa: S105 - the name of a variable
LEVELS = ("read", "edit", "manage")
MODEL = "model:"


@command
def main(arguments: list[str] | None = None) -> int:
    """Add, list and remove users of the tracking server, set their passwords, and grant what they may do.

    The administrator's name and password are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or those of
    server.env. A new password comes from SERVER_USER_PASSWORD or from a question, never from the command line.
    """
    options = _parser().parse_args(arguments)
    uri = _log_in(Path.cwd())
    try:
        return _run(options, uri)
    except ImportError as error:
        raise TrackingError(f"{error}; install the extra `server` of pyproject.toml.") from None
    # MLflow's errors and those of requests share no base class.
    except Exception as error:
        if isinstance(error, TrackingError):
            raise
        raise TrackingError(explain(error, uri, AGAIN_HINT)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server-users", description=main.__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    grant_help = (
        "read, edit or manage, and the name of an experiment or model:NAME; by default, the experiment and the "
        "registered model of params.yaml"
    )
    for name, text in (
        ("add", "add a user"),
        ("grant", "grant permissions to an existing user"),
        ("password", "set a user's password"),
        ("remove", "remove a user"),
        ("list", "list all users"),
    ):
        action = actions.add_parser(name, help=text)
        if name != "list":
            action.add_argument("name")
        if name == "add":
            action.add_argument("--admin", action="store_true", help="may do everything, also with users")
        if name in ("add", "grant"):
            action.add_argument(
                "--grant", nargs="+", action="append", default=[], required=name == "grant", help=grant_help
            )
    return parser


def _run(options: argparse.Namespace, uri: str) -> int:
    with warnings.catch_warnings():
        # MLflow's server, which this imports, uses what Starlette deprecates.
        warnings.simplefilter("ignore")
        from mlflow.server.auth.client import AuthServiceClient

    client = AuthServiceClient(uri)
    if options.action == "list":
        sys.stdout.write(_list(client))
        return 0
    if options.action == "remove":
        client.delete_user(options.name)
    elif options.action == "password":
        client.update_user_password(options.name, _new_password(options.name))
    else:
        # Before anything is written.
        grants = [grant for words in options.grant for grant in _resolve(words, uri)]
        if options.action == "add":
            client.create_user(options.name, _new_password(options.name))
            if options.admin:
                client.update_user_admin(options.name, True)
        for kind, resource, level in grants:
            if options.action == "grant":
                _revoke(client, options.name, kind, resource)
            client.grant_user_permission(options.name, kind, resource, level)
    done = {"add": "added", "grant": "granted", "password": "changed the password of", "remove": "removed"}
    sys.stderr.write(f"{done[options.action]} {one_line(options.name, 100)} on {uri}\n")
    return 0


def _revoke(client: "AuthServiceClient", name: str, kind: str, resource: str) -> None:
    """Revoke an earlier grant, which MLflow does not replace."""
    from mlflow.exceptions import MlflowException

    try:
        client.revoke_user_permission(name, kind, resource)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _log_in(root: Path) -> str:
    """Set the administrator's name and password for MLflow's client, and return the address of the server."""
    settings = read_settings(root)
    os.environ |= {**TIMEOUTS, **os.environ}
    if not os.environ.get("MLFLOW_TRACKING_USERNAME") and settings.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.get("MLFLOW_AUTH_ADMIN_USERNAME", "admin")
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.get("MLFLOW_AUTH_ADMIN_PASSWORD")
    uri = os.environ.get(MLFLOW_TRACKING_URI) or settings.address
    if not uri.startswith(("http://", "https://")):
        raise TrackingError("MLFLOW_TRACKING_URI is not the address of a tracking server; set it to http(s)://….")
    if not os.environ.get("MLFLOW_TRACKING_USERNAME"):
        raise TrackingError(
            "the name of an administrator is missing; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            f"write {FILE}."
        )
    return uri


def _new_password(name: str) -> str:
    password = os.environ.get(PASSWORD)
    if not password:
        if sys.stdin is None or not sys.stdin.isatty():
            raise TrackingError(f"{PASSWORD} is not set, and there is no terminal to ask in.")
        password = getpass.getpass(f"password of {one_line(name, 100)}: ")
        if getpass.getpass("the same again: ") != password:
            raise TrackingError("the passwords differ.")
    if len(password) < MIN_PASSWORD:
        raise TrackingError(f"the password has {len(password)} characters; MLflow needs at least {MIN_PASSWORD}.")
    return password


def _resolve(words: Sequence[str], uri: str) -> list[tuple[str, str, str]]:
    """Turn the words after --grant into kind, id and permission of resources."""
    from mlflow import MlflowClient

    level, *names = words
    if level not in LEVELS:
        raise TrackingError(f"--grant {one_line(level, 80)} is unknown; choose one of {', '.join(LEVELS)}.")
    if not names:
        config = load_config(Path("params.yaml"))
        names = [config.tracking.experiment_name, MODEL + config.registry.model_name]
    client, found = MlflowClient(uri), []
    for name in names:
        if name.startswith(MODEL):
            # A permission on a model that does not exist yet counts once it is registered.
            found.append(("registered_model", name.removeprefix(MODEL), level.upper()))
            continue
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise TrackingError(f"experiment {name!r} does not exist on {uri}; run the pipeline or import runs first.")
        found.append(("experiment", experiment.experiment_id, level.upper()))
    return found


def _list(client: "AuthServiceClient") -> str:
    from mlflow.server.auth.routes import LIST_USERS

    users = client._request(LIST_USERS, "GET")["users"]
    rows = [["user", "kind", "may"]]
    for user in sorted(users, key=lambda user: str(user["username"])):
        if user["is_admin"]:
            rows.append([user["username"], "admin", "everything"])
            continue
        roles = client.list_user_roles(user["username"])
        granted = [permission for role in roles for permission in client.list_role_permissions(role.id)]
        may = [f"{each.permission.lower()} {each.resource_type} {each.resource_pattern}" for each in granted]
        rows.append([user["username"], "user", ", ".join(may) or "read"])
    return format_table(rows, flexible=(0, 2))


if __name__ == "__main__":
    sys.exit(main())
