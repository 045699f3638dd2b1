"""Stage `evaluate`: from the model and `test.parquet` to metrics, plots and the model card."""

from src.config.schema import Config
from src.data.files import read_table, write_metrics
from src.data.models import read_model
from src.data.target import split_target
from src.report.metrics import score_classifier
from src.report.visualizing import plot_confusion_matrix
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage


@mlflow_run
def evaluate(config: Config) -> None:
    """Score the model on the test rows, draw its plots and write its card."""
    settings, base = config.evaluate, config.base
    table = read_table(config.data_split.test_path, made_by="data_split")
    X_test, y_test = split_target(table, base.target_column, base.task)
    # The rows are featurized already.
    model = read_model(config.train.model_path)[1:]
    settings.plots_dir.mkdir(parents=True, exist_ok=True)
    metrics = {"test_r2": float(model.score(X_test, y_test))}
    if base.task == "classification":
        metrics = score_classifier(model, X_test, y_test, split="test")
        figure = plot_confusion_matrix(y_test, model.predict(X_test), model.classes_)
        figure.savefig(settings.plots_dir / "confusion_matrix.png", dpi=150)
    write_metrics(metrics, settings.metrics_path)
    settings.model_card_path.write_text("# Model card\n")


if __name__ == "__main__":
    run_stage(evaluate)
