"""Stage `evaluate`: from the model and `test.parquet` to metrics, plots and the model card."""

import os

from src.config.schema import Config
from src.data.columns import features_by_kind, read_columns
from src.data.files import read_table, write_metrics, write_text
from src.data.findings import read_findings
from src.data.models import read_model
from src.data.target import split_target
from src.report.facts import Facts, hash_files, read_cv_metrics
from src.report.importance import measure_importance
from src.report.metrics_file import score_split
from src.report.model_card import write_card
from src.report.plots import write_plots
from src.report.predictions import predict_rows
from src.report.search import read_candidates
from src.report.slices import find_weak_slices
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def evaluate(config: Config) -> StageResult:
    """Score the model on the test rows, draw its plots and write its card."""
    settings, data, base, scoring = config.evaluate, config.data_split, config.base, config.train.scoring
    test = read_table(data.test_path, made_by="data_split")
    X_test, y_test = split_target(test, base.target_column, base.task, to_learn=False)
    target = read_table(data.train_path, made_by="data_split", columns=[base.target_column])
    y_train = target[base.target_column].to_numpy()
    features = features_by_kind(read_columns(config.data_load.schema_path), config.features, config.no_features)
    findings = read_findings(data.checks_path)
    # The rows are featurized already.
    model = read_model(config.train.model_path)[1:]
    cv_metrics = read_cv_metrics(config.train.cv_metrics_path)
    candidates = read_candidates(config.train.cv_results_path)

    predictions = predict_rows(model, X_test, y_test, base.task)
    metrics = score_split(predictions, y_train, scoring, settings.n_bootstrap, base.random_state, split="test")
    used = X_test[[name for names in features.values() for name in names]]
    importance = measure_importance(model, used, y_test, scoring, base.random_state)
    write_metrics(metrics, settings.metrics_path)
    plots = write_plots(predictions, importance, candidates, scoring, settings.plots_dir)
    facts = Facts(
        model=model,
        candidates=candidates,
        features=features,
        n_rows={"train": len(y_train), "test": len(y_test)},
        md5s=hash_files([data.train_path, data.test_path, config.train.model_path]),
        metrics=metrics,
        cv_metrics=cv_metrics,
        slices=find_weak_slices(used, predictions.losses, features),
        findings=[finding.message for finding in findings],
        plots=[os.path.relpath(path, settings.model_card_path.parent) for path in plots],
    )
    write_text(write_card(facts, config), settings.model_card_path)
    return StageResult(metrics=metrics, artifacts=[settings.plots_dir, settings.model_card_path])


if __name__ == "__main__":
    run_stage(evaluate)
