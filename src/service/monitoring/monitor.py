"""Compare recorded requests with the training data: `python -m src.service.monitoring.monitor [--since 2026-11-01]`.

Exit code 0 means calm, 1 drift, and 2 too few rows or an error.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from src.config.load import load_config
from src.config.schema import Config
from src.config.service import Monitor
from src.config.train import metric_of
from src.data.files import read_table, write_table, write_text
from src.errors import DataError, TrackingError
from src.report.content import Code, Text
from src.report.metrics import safe_names
from src.report.profile import Reference, read_reference
from src.service.monitoring.compare import (
    compare_columns,
    compare_errors,
    compare_predictions,
    decide,
    summarize_columns,
)
from src.service.monitoring.joint import compare_rows
from src.service.monitoring.labels import join_labels, read_labels, score_periods
from src.service.monitoring.page import Drift, describe_verdict, render_drift_page
from src.service.monitoring.records import (
    REQUESTS_DIR,
    Records,
    parse_since,
    read_records,
    recorded_inputs,
    recorded_scores,
)
from src.tracking import names
from src.tracking.runs import log_values
from src.tracking.store import explain, open_store, store_uri
from src.utils.command import command

logger = logging.getLogger(__name__)

PAGE, RESULT = Path("reports/drift.html"), Path("reports/drift.json")
EXIT_CALM, EXIT_DRIFT = 0, 1
MAX_NAMED = 5


def monitor(config: Config, since: str | None = None, labels_path: Path | None = None) -> Drift:
    """Compare the records of a window with the profile of the training data.

    Args:
        since: Start of the window, a date or time; None takes all records.
        labels_path: Labels that came later.

    Raises:
        DataError: There are too few rows, or an input cannot be used.
        MissingInputError: There is no profile.
    """
    reference = read_reference(config.evaluate.reference_path)
    start = parse_since(since) if since else None
    labels = read_labels(labels_path, reference.target, reference.task) if labels_path else None
    ids = None if labels is None else pd.Index(labels.index)
    records = read_records(REQUESTS_DIR, reference, start, config.monitor.max_rows, ids)
    _check_enough(records, config.monitor.min_rows, since, reference)
    rows, times = recorded_inputs(records.rows), records.rows["time"]
    scores = recorded_scores(records.rows, reference)
    predicted = None if reference.task == "regression" else records.rows["prediction"].tolist()
    joint = compare_rows(reference, rows, config.base.random_state)
    comparisons = [*compare_columns(reference, rows), *compare_predictions(reference, predicted, scores)]
    notes = list(_notes(reference, records, rows))
    if joint:
        comparisons.append(joint[0])
    scored = []
    if labels is not None:
        if records.labelled.empty:
            raise DataError(f"{labels_path}: none of its {len(labels)} ids is among the records of this window.")
        predictions = join_labels(records.labelled, labels, reference)
        comparisons.append(compare_errors(reference, predictions.losses))
        scored = score_periods(predictions, records.labelled["time"], config)
        notes.append(f"{len(records.labelled):,} recorded rows have one of the {len(labels):,} labels.")
    return Drift(
        reference=reference,
        rows=rows,
        scores=scores,
        comparisons=decide(comparisons, config.monitor.alpha, config.monitor.min_effect),
        summaries=summarize_columns(reference, rows),
        auc=joint[1] if joint else None,
        metric=metric_of(config.train.scoring),
        labelled=scored,
        n_rows=records.n_rows,
        first=_minute(times.min()),
        last=_minute(times.max()),
        notes=notes,
    )


def _check_enough(records: Records, min_rows: int, since: str | None, reference: Reference) -> None:
    if records.n_rows >= min_rows:
        return
    window = f" since {since}" if since else ""
    reasons = []
    if records.newest is None:
        reasons.append("nothing was recorded there")
    elif since and not records.n_rows and not records.other_models:
        reasons.append(f"the newest row is of {_minute(records.newest)}")
    if records.other_models:
        reasons.append(
            f"{_list_models(records)} were answered by another model than that of reports/reference.json, whose MD5 is "
            f"{reference.model_md5}"
        )
    reasons += list(_left_out(records))
    raise DataError(
        f"{REQUESTS_DIR}: {records.n_rows} rows{window}, and monitor.min_rows = {min_rows} are needed"
        f"{''.join(f'; {reason}' for reason in reasons)}."
    )


def _left_out(records: Records) -> Iterator[str]:
    for paths, reason in (
        (records.unreadable, "damaged or still being written"),
        (records.foreign, "of another schema"),
    ):
        if paths:
            yield f"{len(paths)} file{'s' if len(paths) > 1 else ''} {reason}, such as {paths[0]}"


def _list_models(records: Records) -> str:
    return ", ".join(f"{count:,} rows of {name}" for name, count in records.other_models.most_common(MAX_NAMED))


def _notes(reference: Reference, records: Records, rows: pd.DataFrame) -> Iterator[Text]:
    """Yield what was left out, and what is no alarm but worth knowing."""
    for reason in _left_out(records):
        yield f"Left out: {reason}."
    if records.other_models:
        yield f"Left out, answered by other models: {_list_models(records)}."
    if records.n_rows > len(rows):
        yield f"A random sample of {len(rows):,} of {records.n_rows:,} rows was compared."
    for title, found in (
        ("Not recorded", [name for name in reference.columns if name not in rows]),
        ("Recorded, but not in the profile", sorted(records.ignored)),
        ("Dates are later than in training, so only their missing values are compared",
         [name for name, profile in reference.columns.items() if profile.kind == "date"]),
        ("Of texts, only the length is compared",
         [name for name, profile in reference.columns.items() if profile.kind == "text"]),
    ):  # fmt: skip
        if found:
            listed = [piece for name in found[:MAX_NAMED] for piece in (", ", Code(name))][1:]
            more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
            yield (f"{title}: ", *listed, f"{more}.")


def _minute(moment: pd.Timestamp) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def format_result(drift: Drift, settings: Monitor) -> str:
    """Format the content of `drift.json`."""
    content = {
        "drift": bool(drift.found),
        "verdict": describe_verdict(drift),
        "rows": {"compared": len(drift.rows), "recorded": drift.n_rows, "first": drift.first, "last": drift.last},
        "model_md5": drift.reference.model_md5,
        "alpha": settings.alpha,
        "min_effect": settings.min_effect,
        "joint_auc": drift.auc,
        "tests": [asdict(each) for each in drift.comparisons],
        "columns": {each.name: {key: value for key, value in asdict(each).items() if key != "name"}
                    for each in drift.summaries},
        "metric": drift.metric,
        "labelled": [asdict(each) for each in drift.labelled],
        "notes": [note if isinstance(note, str) else "".join(note) for note in drift.notes],
    }  # fmt: skip
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def record_run(root: Path, drift: Drift, config: Config) -> None:
    """Record the comparison as a run of the experiment `<name>-monitoring`; log a warning if the store fails."""
    uri = store_uri(root)
    try:
        store = open_store(root, f"{config.tracking.experiment_name}-monitoring")
        run = store.client.create_run(store.experiment_id, run_name=f"{drift.first} to {drift.last}")
        tags = {"drift": str(bool(drift.found)).lower(), "mlflow.note.content": describe_verdict(drift),
                f"{names.MD5}{config.train.model_path}": drift.reference.model_md5}  # fmt: skip
        log_values(store, run.info.run_id, metrics=dict(_metrics(drift)), tags=tags)
        for path in (PAGE, RESULT):
            store.client.log_artifact(run.info.run_id, str(root / path))
        store.client.set_terminated(run.info.run_id)
    except TrackingError as error:
        logger.warning("not recorded in MLflow: %s", error)
    # MLflow's errors and those of its stores share no base class.
    except Exception as error:
        logger.warning("not recorded in MLflow: %s", explain(error, uri))


def _metrics(drift: Drift) -> Iterator[tuple[str, float]]:
    yield "drift", float(bool(drift.found))
    yield "n_rows", float(drift.n_rows)
    yield "n_drifted_columns", float(len({each.name for each in drift.found if each.subject == "column"}))
    if drift.auc is not None:
        yield "joint_auc", drift.auc
    for score in drift.labelled[:1]:
        yield drift.metric, score.value
        if score.interval:
            yield f"{drift.metric}_ci95_low", score.interval[0]
            yield f"{drift.metric}_ci95_high", score.interval[1]
    safe = dict(zip(drift.reference.columns, safe_names(list(drift.reference.columns)), strict=True))
    for summary in drift.summaries:
        yield f"missing.{safe[summary.name]}", summary.missing_now
        for what, value in (("psi", summary.psi), ("unseen", summary.unseen), ("outside", summary.outside)):
            if value is not None:
                yield f"{what}.{safe[summary.name]}", value
    for each in drift.comparisons:
        if each.subject == "column":
            yield f"effect_{each.what}.{safe[each.name]}", each.effect
            yield f"p_adjusted_{each.what}.{safe[each.name]}", each.p_adjusted


def export(config: Config, drift: Drift, folder: Path) -> None:
    """Write training rows and new rows as Parquet with the raw columns of the model, for other tools.

    At most `monitor.max_rows` random training rows are written.
    """
    columns: Sequence[str] = list(drift.rows.columns)
    train = read_table(config.data_split.train_path, made_by="data_split", columns=columns)
    if len(train) > config.monitor.max_rows:
        train = train.sample(config.monitor.max_rows, random_state=config.base.random_state).sort_index()
    folder.mkdir(parents=True, exist_ok=True)
    write_table(train[columns], folder / "reference.parquet")
    write_table(drift.rows[columns], folder / "current.parquet")


@command
def main() -> int:
    """Monitor, from the command line."""
    parser = argparse.ArgumentParser(prog="monitor", description=__doc__)
    parser.add_argument("--since", help="start of the window, such as 2026-11-01; all records by default")
    parser.add_argument("--labels", type=Path, help="table with the columns `id` and the target")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the compared rows as Parquet, too")
    options = parser.parse_args()
    config = load_config(Path("params.yaml"))
    drift = monitor(config, options.since, options.labels)
    write_text(render_drift_page(drift, PAGE, config.monitor), PAGE)
    write_text(format_result(drift, config.monitor), RESULT)
    if options.export:
        export(config, drift, options.export)
    if config.tracking.enabled:
        record_run(Path.cwd(), drift, config)
    verdict = describe_verdict(drift)
    sys.stdout.write(f"{verdict}; {drift.n_rows:,} rows from {drift.first} to {drift.last}; see {PAGE}\n")
    return EXIT_DRIFT if drift.found else EXIT_CALM


if __name__ == "__main__":
    sys.exit(main())
