"""What becomes of the stages that have not run, told from `dvc.lock` without asking DVC."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from src.tracking.journal import Visit
from src.tracking.lineage import StageDefinition, StageEntry, get_param, observe_stage
from src.tracking.names import Outcome
from src.tracking.yaml_cache import read_yaml

SPOILT: set[Outcome] = {"failed", "stale"}


def foresee_outcomes(
    root: Path,
    stages: Mapping[str, StageDefinition],
    lock: Mapping[str, StageEntry],
    visits: Sequence[Visit],
    decided: Mapping[str, Outcome],
) -> dict[str, Outcome]:
    """Tell what DVC, which goes on, does with the stages that it has not reached.

    No stage may come after this one to tell it. A stage that depends on a failed one does
    not run; one whose inputs, settings and outputs are as `dvc.lock` says is left as it is.
    Of any other only DVC knows: it may run, or be restored.

    Args:
        root: Root in which the stages run.
        stages: The stages in an order in which they can run.
        lock: Entry of each stage, those that have just run included.
        visits: What ran in the session.
        decided: Outcome of each stage so far; `unknown` ones are looked at.
    """
    outcomes = dict(decided)
    ran = {visit.stage for visit in visits}
    for name, stage in stages.items():
        if name in ran or outcomes[name] != "unknown":
            continue
        before = _outcomes_before(stage, stages, outcomes)
        if before & SPOILT:
            outcomes[name] = "stale"
        elif "unknown" not in before and is_up_to_date(root, stage, lock):
            outcomes[name] = "unchanged"
    return outcomes


def spread_staleness(stages: Mapping[str, StageDefinition], decided: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Call stale what comes after a stage that failed or is stale: nobody knows what it will get.

    Args:
        stages: The stages in an order in which they can run.
        decided: Outcome of each, looked at by itself, as DVC does.
    """
    outcomes = dict(decided)
    for name, stage in stages.items():
        if outcomes[name] == "unchanged" and _outcomes_before(stage, stages, outcomes) & SPOILT:
            outcomes[name] = "stale"
    return outcomes


def _outcomes_before(
    stage: StageDefinition, stages: Mapping[str, StageDefinition], outcomes: Mapping[str, Outcome]
) -> set[Outcome]:
    return {outcomes[other.name] for other in stages.values() if set(other.outs) & set(stage.deps)}


def is_up_to_date(root: Path, stage: StageDefinition, lock: Mapping[str, StageEntry]) -> bool:
    """Tell whether everything of a stage is as `dvc.lock` says; files are read only if they may be."""
    if stage.name in find_disagreements(root, {stage.name: stage}, lock):
        return False
    digest = observe_stage(root, stage).digest
    return digest is not None and digest == lock[stage.name].digest


def find_disagreements(root: Path, stages: Mapping[str, StageDefinition], lock: Mapping[str, StageEntry]) -> set[str]:
    """Find stages whose entry does not fit the settings, or what other stages produced.

    Args:
        root: Folder of the parameter files.
        stages: The stages.
        lock: Entry of each stage.
    """
    produced = {path: md5 for entry in lock.values() for path, md5 in entry.outs.items()}
    return {name for name, stage in stages.items() if not _agrees(root, stage, lock.get(name), produced)}


def _agrees(root: Path, stage: StageDefinition, entry: StageEntry | None, produced: Mapping[str, str | None]) -> bool:
    if entry is None or entry.cmd != stage.cmd:
        return False
    params = {
        file: {key: get_param(content, key) for key in keys}
        for file, keys in stage.params.items()
        for content in [read_yaml(root / file)]
    }
    if entry.params != params or set(entry.deps) != set(stage.deps):
        return False
    return all(produced.get(path, md5) == md5 for path, md5 in entry.deps.items())
