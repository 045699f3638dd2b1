"""Stage `evaluate`: from the model and `test.parquet` to metrics, figures, the report and the model card."""

import logging

from src.compute.start import start_engine
from src.config.schema import Config
from src.data.columns import features_by_kind, read_columns
from src.data.files import write_metrics, write_text
from src.data.findings import read_findings
from src.data.headline import read_headline
from src.data.parts import list_parts
from src.data.scoring import choose_positive
from src.report.content import Facts, build_report
from src.report.curves import compute_curves, write_curves
from src.report.html_report import write_page
from src.report.importance import measure_importance
from src.report.inputs import read_candidates, read_cv_metrics, read_md5s
from src.report.metrics import compute_metrics
from src.report.model_card import write_card
from src.report.profile import build_reference, write_reference
from src.report.rows import load_steps, predict_parts, read_train_target
from src.report.visualizing import draw_figures, write_figures
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run

logger = logging.getLogger(__name__)


@mlflow_run
def evaluate(config: Config) -> StageResult:
    """Score the model on the test rows, draw its figures and write its reports."""
    settings, data, base, train = config.evaluate, config.data_split, config.base, config.train
    test_parts = list_parts(data.test_path, made_by="data_split")
    train_parts = list_parts(data.train_path, made_by="data_split")
    columns = read_columns(config.data_load.schema_path)
    features = features_by_kind(columns, config.featurize.features, config.no_features)
    findings, candidates = read_findings(data.checks_path), read_candidates(train.cv_results_path)
    cv_metrics = read_cv_metrics(train.cv_metrics_path)
    # The rows are already featurized.
    model = load_steps(train.model_path.absolute())

    with start_engine(config.compute, [data.train_path, data.test_path, train.model_path]) as engine:
        y_train = read_train_target(train_parts, base.target_column, base.task)
        positive = None if y_train.counts is None else choose_positive(y_train.counts, base.positive)
        names = [name for names in features.values() for name in names]
        rows = predict_parts(engine, test_parts, train.model_path, base, names, positive)
        predictions, shown = rows.predictions, rows.predictions.take(rows.sample)
        metrics = compute_metrics(predictions, y_train, train.scoring, settings.n_bootstrap, base.random_state)
        importance = measure_importance(model, rows.X, rows.y, train.scoring, base.random_state, positive)
        reference = build_reference(engine, train_parts, config, columns, predictions, metrics)

    write_metrics(metrics, settings.metrics_path)
    write_text(write_reference(reference), settings.reference_path)
    if (headline := read_headline(metrics, train.scoring)) and headline.problem:
        logger.warning("%s", headline.problem)
    figures = draw_figures(predictions, shown, importance, candidates, train.scoring)
    plots = write_figures(figures, settings.plots_dir)
    write_curves(compute_curves(predictions, shown, importance, base.random_state), settings.curves_dir)
    facts = Facts(
        model=model,
        candidates=candidates,
        features=features,
        n_train=y_train.n_rows,
        predictions=predictions,
        X_shown=rows.X,
        shown=shown,
        metrics=metrics,
        cv_metrics=cv_metrics,
        findings=findings,
        md5s=read_md5s([data.train_path, data.test_path, train.model_path]),
        plots=plots,
    )
    report = build_report(facts, config)
    write_text(write_page(report, settings.report_path), settings.report_path)
    write_text(write_card(report, settings.model_card_path), settings.model_card_path)
    artifacts = [settings.plots_dir, settings.report_path, settings.model_card_path]
    tags = {} if positive is None else {"positive": str(positive)}
    return StageResult(metrics=metrics, tags=tags, artifacts=artifacts)


if __name__ == "__main__":
    run_stage(evaluate)
