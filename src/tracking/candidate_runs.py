"""The candidates of a search in MLflow: all in a table, the best as runs under the run of `train`."""

import json
from collections.abc import Mapping, Sequence

from src.tracking import names
from src.tracking.candidates import CandidateRecord, tabulate_candidates
from src.tracking.runs import log_values
from src.tracking.store import Store

# More would bury the stages, and each costs a store five writes.
MAX_CANDIDATE_RUNS = 20
TABLE = "cv_results.json"


def log_candidates(store: Store, run_id: str, candidates: Sequence[CandidateRecord], end_time: int | None) -> None:
    """Log the candidates of a search to the run of its stage. Twice changes nothing.

    Args:
        store: The store.
        run_id: The run of the stage.
        candidates: All of them, the best first.
        end_time: When the stage ended, in milliseconds since the epoch.
    """
    from mlflow.entities import ViewType

    store.client.log_text(run_id, json.dumps(tabulate_candidates(candidates), ensure_ascii=False), TABLE)
    # How MLflow's page of a run and `mlflow.load_table` find tables.
    store.client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))
    run = store.client.get_run(run_id)
    query = f"tags.`mlflow.parentRunId` = '{run_id}' and tags.`{names.KIND}` = 'candidate'"
    # Deleted ones too, for they shall stay deleted.
    known = store.client.search_runs([store.experiment_id], query, ViewType.ALL, max_results=MAX_CANDIDATE_RUNS)
    runs = {found.data.tags.get(names.CANDIDATE): found.info for found in known}
    for number, candidate in enumerate(candidates[:MAX_CANDIDATE_RUNS], start=1):
        info = runs.get(str(number))
        if info is None:
            tags = _tags_of_candidate(run.data.tags, run_id, number, candidate)
            name = " ".join([f"{number}", candidate.estimator.rpartition(".")[2]])
            info = store.client.create_run(
                store.experiment_id, start_time=run.info.start_time, tags=tags, run_name=name
            ).info
        if info.lifecycle_stage == "active" and info.status == "RUNNING":
            params = {"estimator": candidate.estimator, **candidate.params}
            log_values(store, info.run_id, params=params, metrics=candidate.metrics)
            store.client.set_terminated(info.run_id, "FINISHED", end_time)


def _tags_of_candidate(tags: Mapping[str, str], run_id: str, number: int, candidate: CandidateRecord) -> dict[str, str]:
    """Take what the run of the stage carries, but nothing by which a stage or its outputs are found."""
    kept = (names.SESSION, names.HOST, names.CPU, names.PYTHON, names.GIT_COMMIT, names.GIT_BRANCH, names.GIT_DIRTY,
            names.EXP_NAME, names.EXP_BASELINE, "mlflow.user", names.SOURCE, "mlflow.source.type")  # fmt: skip
    return {key: tags[key] for key in kept if key in tags} | {
        "mlflow.parentRunId": run_id,
        names.KIND: "candidate",
        names.CANDIDATE: str(number),
        "mlflow.note.content": ", ".join(f"{name} = {value}" for name, value in candidate.params.items()),
    }
