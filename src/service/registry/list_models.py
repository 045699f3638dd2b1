"""List the registered versions: `python -m src.service.registry.list_models [--json]`."""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src.config.load import load_config
from src.data.headline import short_number
from src.service.registry.gate import read_aliases
from src.service.registry.register import (
    GATE,
    METRIC,
    METRIC_VALUE,
    explained,
    list_versions,
    published_tag,
    show_name,
)
from src.text import format_table
from src.tracking import names
from src.tracking.store import AGAIN_HINT, open_store
from src.utils.command import command


def list_models(root: Path) -> list[dict[str, Any]]:
    """Describe each version of `registry.model_name`, newest first.

    Raises:
        TrackingError: The store cannot be used.
    """
    config = load_config(root / "params.yaml")
    name = config.registry.model_name
    store = open_store(root, config.tracking.experiment_name, AGAIN_HINT)
    with explained(store):
        aliases = read_aliases(store, name)
        versions = list_versions(store.client, name)
    found = []
    for version in versions:
        commit = version.tags.get(names.GIT_COMMIT)
        # It may have been published after it was registered.
        tag = version.tags.get(names.GIT_TAG) or published_tag(root, commit or "")
        value = version.tags.get(METRIC_VALUE)
        found.append(
            {
                "version": int(version.version),
                "aliases": sorted(alias for alias, number in aliases.items() if number == str(version.version)),
                "metric": version.tags.get(METRIC),
                "value": float(value) if value else None,
                "gate": version.tags.get(GATE),
                "tag": tag,
                "commit": commit,
                "registered": datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(
                    timespec="seconds"
                ),
            }
        )
    return found


def format_models(models: list[dict[str, Any]]) -> str:
    """Format versions as a table."""
    rows = [("version", "aliases", "metric", "gate", "tag", "commit", "registered")]
    for each in models:
        metric = "-" if each["value"] is None else f"{each['metric']} {short_number(each['value'])}"
        texts = (each["gate"], each["tag"], each["commit"] and each["commit"][:9])
        aliases, time = ", ".join(each["aliases"]), each["registered"][:16].replace("T", " ")
        rows.append((str(each["version"]), aliases or "-", metric, *(text or "-" for text in texts), time))
    return format_table(rows, (1, 2, 4), width=120)


@command
def main() -> None:
    """List, from the command line."""
    parser = argparse.ArgumentParser(prog="list_models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    models = list_models(Path.cwd())
    if options.json:
        sys.stdout.write(json.dumps(models, indent=2) + "\n")
    elif models:
        sys.stdout.write(format_models(models))
    else:
        name = load_config(Path("params.yaml")).registry.model_name
        sys.stderr.write(f"no model is registered as {show_name(name)!r}; run `make register`.\n")


if __name__ == "__main__":
    sys.exit(main())
