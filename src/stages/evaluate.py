"""Stage `evaluate`: from the model and `test.parquet` to metrics and the confusion matrix."""

import logging

from src.atomic import atomic_path
from src.config.schema import Config
from src.data.files import read_table, write_metrics
from src.data.models import read_model
from src.data.target import split_target
from src.report.metrics import score_classifier
from src.report.visualizing import plot_confusion_matrix
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage

logger = logging.getLogger(__name__)


@mlflow_run
def evaluate(config: Config) -> None:
    """Score the model on the test rows and draw its confusion matrix."""
    table = read_table(config.data_split.test_path, made_by="data_split")
    X_test, y_test = split_target(table, config.base.target_column)
    # The rows are featurized already.
    model = read_model(config.train.model_path)[1:]
    write_metrics(score_classifier(model, X_test, y_test, split="test"), config.evaluate.metrics_path)
    figure = plot_confusion_matrix(y_test, model.predict(X_test), model.classes_)
    with atomic_path(config.evaluate.confusion_matrix_path) as partial:
        figure.savefig(partial, dpi=150)
    logger.info("wrote %s", config.evaluate.confusion_matrix_path)


if __name__ == "__main__":
    run_stage(evaluate)
