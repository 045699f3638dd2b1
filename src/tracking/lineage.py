"""`dvc.yaml` and `dvc.lock`, read: what each stage needs, and what it produced from what."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from src.tracking.cache import md5_of
from src.tracking.yaml_cache import read_yaml


@dataclass(frozen=True)
class StageEntry:
    """What DVC records of a stage in `dvc.lock`.

    Attributes:
        cmd: The command, or several.
        deps: MD5 of each input by path; None if the file is absent.
        params: Value of each declared parameter by file and key.
        outs: MD5 of each output by path; None if the file is absent.
    """

    cmd: str | list[str]
    deps: dict[str, str | None]
    params: dict[str, dict[str, Any]]
    outs: dict[str, str | None]

    @property
    def digest(self) -> str | None:
        """Hash of the entry, equal for equal entries; None while a file is absent."""
        if None in (*self.deps.values(), *self.outs.values()):
            return None
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StageDefinition:
    """A stage of `dvc.yaml` with its `${…}` filled in.

    Attributes:
        name: Name of the stage.
        cmd: The command, or several.
        deps: Paths of inputs, code included.
        params: Declared keys by parameter file.
        outs: Paths of all outputs, metrics and plots included.
        metrics: Paths of metric files.
        plots: Paths of plots.
        in_git: Paths of outputs that git keeps instead of DVC's cache.
    """

    name: str
    cmd: str | list[str]
    deps: list[str] = field(default_factory=list)
    params: dict[str, list[str]] = field(default_factory=dict)
    outs: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    in_git: list[str] = field(default_factory=list)

    @property
    def report(self) -> list[str]:
        """Paths of what people look at: plots and Markdown."""
        return [*self.plots, *(path for path in self.outs if path.endswith(".md"))]


def read_lock(root: Path) -> dict[str, StageEntry]:
    """Read `dvc.lock`; empty if there is none yet.

    Returns:
        Entry of each stage by name.
    """
    path = root / "dvc.lock"
    if not path.exists():
        return {}
    return {
        name: StageEntry(
            cmd=entry["cmd"],
            deps={item["path"]: item.get("md5") for item in entry.get("deps", [])},
            params=entry.get("params", {}),
            outs={item["path"]: item.get("md5") for item in entry.get("outs", [])},
        )
        for name, entry in read_yaml(path).get("stages", {}).items()
    }


def read_stages(root: Path) -> dict[str, StageDefinition]:
    """Read the stages of `dvc.yaml` in their order, `${…}` filled in from `params.yaml`."""
    params = read_yaml(root / "params.yaml")
    return {
        name: _define(name, _interpolate(stage, params))
        for name, stage in read_yaml(root / "dvc.yaml").get("stages", {}).items()
    }


def read_model_paths(root: Path) -> list[str]:
    """List the artifacts of `dvc.yaml` whose type is `model`."""
    artifacts = _interpolate(read_yaml(root / "dvc.yaml").get("artifacts", {}), read_yaml(root / "params.yaml"))
    return [artifact["path"] for artifact in artifacts.values() if artifact.get("type") == "model"]


def observe_stage(root: Path, stage: StageDefinition) -> StageEntry:
    """Make the entry that DVC is about to write for a stage that has just run.

    The stage tags its own run with the hash, so that the run is found by it later,
    whatever DVC did in between.
    """
    return StageEntry(
        cmd=stage.cmd,
        deps={path: md5_of(root / path) for path in stage.deps},
        params={
            file: {key: get_param(content, key) for key in keys}
            for file, keys in stage.params.items()
            for content in [read_yaml(root / file)]
        },
        outs={path: md5_of(root / path) for path in stage.outs},
    )


def get_param(params: Mapping[str, Any], key: str) -> Any:
    """Look up a dotted key; None where DVC would find nothing."""
    value: Any = params
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield leaves with dotted keys: `{"a": {"b": 1}}` gives `("a.b", 1)`."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _define(name: str, stage: dict[str, Any]) -> StageDefinition:
    params: dict[str, list[str]] = {}
    for item in stage.get("params", []):
        for file, keys in (item if isinstance(item, dict) else {"params.yaml": [item]}).items():
            params.setdefault(file, []).extend(keys or [])
    listed = {kind: [_path(item) for item in stage.get(kind, [])] for kind in ("deps", "outs", "metrics", "plots")}
    return StageDefinition(
        name=name,
        cmd=stage["cmd"],
        deps=listed["deps"],
        params=params,
        outs=[*listed["outs"], *listed["metrics"], *listed["plots"]],
        metrics=listed["metrics"],
        plots=listed["plots"],
        in_git=[
            _path(item) for kind in ("outs", "metrics", "plots") for item in stage.get(kind, []) if _is_in_git(item)
        ],
    )


def _path(item: str | dict[str, Any]) -> str:
    return item if isinstance(item, str) else next(iter(item))


def _is_in_git(item: str | dict[str, Any]) -> bool:
    return isinstance(item, dict) and any((settings or {}).get("cache") is False for settings in item.values())


def _to_text(value: Any) -> str:
    # As DVC writes it.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _interpolate(value: Any, params: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {_interpolate(key, params): _interpolate(item, params) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, params) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{\s*([\w.]+)\s*\}", lambda match: _to_text(get_param(params, match[1])), value)
    return value
