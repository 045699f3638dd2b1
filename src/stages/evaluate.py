"""Stage `evaluate`: from the model and `test.parquet` to metrics, figures, the report and the model card."""

import logging

from src.config.schema import Config
from src.data.columns import features_by_kind, read_columns
from src.data.files import read_table, write_metrics, write_text
from src.data.findings import read_findings
from src.data.headline import read_headline
from src.data.models import read_model
from src.data.scoring import find_positive
from src.data.target import split_target
from src.report.content import Facts, build_report
from src.report.curves import compute_curves, write_curves
from src.report.html_report import write_page
from src.report.importance import measure_importance
from src.report.inputs import read_candidates, read_cv_metrics, read_md5s
from src.report.metrics import compute_metrics
from src.report.model_card import write_card
from src.report.predictions import predict_rows
from src.report.profile import build_reference, write_reference
from src.report.visualizing import draw_figures, write_figures
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run

logger = logging.getLogger(__name__)


@mlflow_run
def evaluate(config: Config) -> StageResult:
    """Score the model on the test rows, draw its figures and write its reports."""
    settings, data, base, train = config.evaluate, config.data_split, config.base, config.train
    test = read_table(data.test_path, made_by="data_split")
    X_test, y_test = split_target(test, base.target_column, base.task, to_learn=False)
    target = read_table(data.train_path, made_by="data_split", columns=[base.target_column])
    y_train = target[base.target_column].to_numpy()
    columns = read_columns(config.data_load.schema_path)
    features = features_by_kind(columns, config.featurize.features, config.no_features)
    findings, candidates = read_findings(data.checks_path), read_candidates(train.cv_results_path)
    cv_metrics = read_cv_metrics(train.cv_metrics_path)
    # The rows are already featurized.
    model = read_model(train.model_path)[1:]

    positive = find_positive(y_train, base.positive, base.task)
    predictions = predict_rows(model, X_test, y_test, base.task, positive)
    metrics = compute_metrics(predictions, y_train, train.scoring, settings.n_bootstrap, base.random_state)
    used = X_test[[name for names in features.values() for name in names]]
    importance = measure_importance(model, used, y_test, train.scoring, base.random_state, positive)

    write_metrics(metrics, settings.metrics_path)
    write_text(write_reference(build_reference(config, columns, predictions, metrics)), settings.reference_path)
    if (headline := read_headline(metrics, train.scoring)) and headline.problem:
        logger.warning("%s", headline.problem)
    plots = write_figures(draw_figures(predictions, importance, candidates, train.scoring), settings.plots_dir)
    write_curves(compute_curves(predictions, importance, base.random_state), settings.curves_dir)
    facts = Facts(
        model=model,
        candidates=candidates,
        features=features,
        n_train=len(y_train),
        X_test=used,
        predictions=predictions,
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
