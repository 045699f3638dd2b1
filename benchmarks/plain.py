"""The job of the pipeline as one plain script: pandas, scikit-learn, matplotlib and MLflow.

    python plain.py            iris, with the search
    python plain.py --table T  a Parquet file with a column `target`: one fit, no search

It imports nothing of this project. Rows, grid, metrics, plots, table files and runs are those of the pipeline; it
has no validation, versions, cache or resumption. The model is logged with cloudpickle, not with MLflow's default
skops: it holds a function of this script, which skops loads by name only, and cloudpickle by value.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import joblib
import matplotlib as mpl
import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd
import sklearn
from mlflow.models import infer_signature
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    classification_report,
    confusion_matrix,
    f1_score,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

TARGET, SEED, SCORING = "target", 42, "f1_macro"
N_BOOTSTRAP, N_FOLDS, N_IMPORTANCE_ROWS, N_DESCRIBED_ROWS = 1000, 5, 1000, 10_000
PARAM_GRID = {"estimator__C": [0.01, 0.1, 1.0, 10.0], "estimator__max_iter": [1000]}
RAW = Path("data/raw/dataset.parquet")
FEATURES, TRAIN, TEST = (Path(f"data/processed/{name}.parquet") for name in ("features", "train", "test"))
MODEL, REPORTS, PLOTS = Path("models/model.joblib"), Path("reports"), Path("reports/plots")
REQUIREMENTS = [f"{package.__name__.replace('sklearn', 'scikit-learn')}=={package.__version__}"
                for package in (mlflow, np, pd, sklearn)]  # fmt: skip

Metrics = dict[str, float | dict[str, float]]


def load_table(path: Path | None = None) -> pd.DataFrame:
    """Read a Parquet file, or by default iris."""
    if path:
        return pd.read_parquet(path)
    iris = load_iris(as_frame=True)
    table: pd.DataFrame = iris.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    table[TARGET] = iris.target_names[iris.target]
    return table


def add_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ratio of length to width of sepals and petals."""
    return table.assign(
        sepal_length_to_sepal_width=table["sepal_length"] / table["sepal_width"],
        petal_length_to_petal_width=table["petal_length"] / table["petal_width"],
    )


def split_rows(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Set a stratified fifth of the rows aside for the test: those with the smallest hashes of their numbers."""
    seed, numbers = (pd.util.hash_array(np.asarray(of, dtype=np.uint64)) for of in ([SEED], np.arange(len(table))))
    ranks = pd.Series(pd.util.hash_array(numbers ^ seed), table.index).groupby(table[TARGET])
    is_test = ranks.rank() <= np.floor(0.2 * ranks.transform("size") + 0.5)
    return table[~is_test], table[is_test]


def search(train: pd.DataFrame) -> tuple[Pipeline, pd.DataFrame, dict[str, float]]:
    """Choose and fit the model of iris; gives it with the results of the search and its scores."""
    X, y = train.drop(columns=TARGET), train[TARGET]
    steps = [
        ("impute", SimpleImputer(strategy="median")),
        ("scale", StandardScaler()),
        ("estimator", LogisticRegression(random_state=SEED)),
    ]
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    found = GridSearchCV(Pipeline(steps), PARAM_GRID, scoring=SCORING, cv=folds).fit(X, y)
    results = pd.DataFrame(found.cv_results_["params"]).rename(columns=lambda name: name.removeprefix("estimator__"))
    for name in ("mean", "std", "rank"):
        results[name] = found.cv_results_[f"{name}_test_score"]
    baseline = cross_val_score(DummyClassifier(), X, y, scoring=SCORING, cv=folds).mean()
    best = results.loc[found.best_index_]
    scores = {"mean": best["mean"], "std": best["std"], "mean_baseline": baseline}
    return found.best_estimator_, results, {f"cv_{SCORING}_{name}": float(value) for name, value in scores.items()}


def fit_once(train: pd.DataFrame) -> Pipeline:
    """Fit one model of a large table."""
    model = Pipeline([("estimator", HistGradientBoostingClassifier(random_state=SEED))])
    return model.fit(train.drop(columns=TARGET), train[TARGET])


def score(y_true: pd.Series, y_pred: Any, probabilities: Any, classes: Any, y_train: pd.Series) -> Metrics:
    """Score the test rows."""
    report = classification_report(y_true, y_pred, output_dict=True)
    is_class = y_true.to_numpy()[:, None] == classes
    confidence, is_right = probabilities.max(axis=1), y_true.to_numpy() == y_pred
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = np.bincount(bins, confidence - is_right, minlength=10)
    # To resample rows is to resample the cells of the confusion matrix.
    counts = confusion_matrix(y_true, y_pred, labels=classes)
    draws = np.random.default_rng(SEED).multinomial(counts.sum(), counts.ravel() / counts.sum(), size=N_BOOTSTRAP)
    draws = draws.reshape(-1, *counts.shape)
    f1 = 2 * draws.diagonal(axis1=1, axis2=2) / np.maximum(draws.sum(axis=1) + draws.sum(axis=2), 1)
    low, high = np.quantile(f1.mean(axis=1), [0.025, 0.975])
    most_frequent = np.full(len(y_true), y_train.mode()[0], dtype=object)
    metrics = {
        "accuracy": report["accuracy"],
        "balanced_accuracy": balanced_accuracy_score(y_true, y_pred),
        "f1_macro_baseline": f1_score(y_true, most_frequent, average="macro"),
        "brier": brier_score_loss(is_class, probabilities),
        "calibration_error": np.abs(gaps).sum() / len(y_true),
        "f1_macro": report["macro avg"]["f1-score"],
        "f1_macro_ci95_high": high,
        "f1_macro_ci95_low": low,
        "f1_weighted": report["weighted avg"]["f1-score"],
        "log_loss": log_loss(y_true, probabilities, labels=classes),
        "pr_auc": average_precision_score(is_class, probabilities),
        "precision_macro": report["macro avg"]["precision"],
        "recall_macro": report["macro avg"]["recall"],
        "roc_auc_ovr": roc_auc_score(is_class, probabilities),
    }
    by_class = {
        f"test_{name.removesuffix('-score')}_class": {label: float(report[label][name]) for label in classes}
        for name in ("precision", "recall", "f1-score", "support")
    }
    return {f"test_{name}": float(value) for name, value in metrics.items()} | by_class


def draw_plots(
    model: Pipeline, X: pd.DataFrame, y_true: pd.Series, y_pred: Any, probabilities: Any, results: pd.DataFrame | None
) -> list[Path]:
    """Draw the plots of the test rows and of the search."""
    mpl.use("Agg")
    figures = {}
    figures["confusion_matrix"], axes = plt.subplots(figsize=(6, 5), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(y_true, y_pred, cmap="Blues", ax=axes)
    for name, display in (("roc", RocCurveDisplay), ("precision_recall", PrecisionRecallDisplay)):
        figures[name], axes = plt.subplots(figsize=(8, 5), layout="constrained")
        for number, label in enumerate(model.classes_):
            display.from_predictions(y_true == label, probabilities[:, number], name=label, ax=axes)
    figures["calibration"], axes = plt.subplots(figsize=(6, 6), layout="constrained")
    CalibrationDisplay.from_predictions(y_true == y_pred, probabilities.max(axis=1), n_bins=10, ax=axes)
    figures["permutation_importance"], axes = plt.subplots(figsize=(7, 4), layout="constrained")
    n_rows = min(N_IMPORTANCE_ROWS, len(X))
    rows = X.sample(n_rows, random_state=SEED)
    importance = permutation_importance(model, rows, y_true[rows.index], scoring=SCORING, random_state=SEED)
    order = np.argsort(importance.importances_mean)
    axes.barh(X.columns[order], importance.importances_mean[order], xerr=importance.importances_std[order])
    axes.set_xlabel(f"decrease of {SCORING}")
    if results is not None:
        figures["search"], axes = plt.subplots(figsize=(8, 4), layout="constrained")
        names = [f"C={C}" for C in results["C"]]
        axes.errorbar(results["mean"], names, xerr=results["std"], fmt="o", capsize=2)
        axes.set_xlabel(f"{SCORING}, mean ± standard deviation of the folds")
    paths = []
    for name, figure in figures.items():
        paths.append(PLOTS / f"{name}.png")
        figure.savefig(paths[-1], dpi=150)
        plt.close(figure)
    return paths


def write_card(model: Pipeline, n_train: int, n_test: int, metrics: Metrics, plots: list[Path]) -> Path:
    """Write the model card."""
    lines = ["# Model card", "", f"Estimator: `{model['estimator']!r}`.", ""]
    lines += [f"Rows: {n_train} to train, {n_test} to test.", "", "| metric | value |", "| --- | --- |"]
    lines += [f"| {name} | {value:.4f} |" for name, value in metrics.items() if not isinstance(value, dict)]
    by_class = {name: value for name, value in metrics.items() if isinstance(value, dict)}
    lines += ["", f"| class | {' | '.join(by_class)} |", "| --- " * (len(by_class) + 1) + "|"]
    for label in model.classes_:
        lines.append(f"| {label} | " + " | ".join(f"{value[label]:.4f}" for value in by_class.values()) + " |")
    lines += ["", *(f"![{path.stem}](plots/{path.name})" for path in plots)]
    card = REPORTS / "model_card.md"
    card.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return card


def evaluate(
    model: Pipeline, train: pd.DataFrame, test: pd.DataFrame, results: pd.DataFrame | None
) -> tuple[Metrics, Path]:
    """Write metrics, plots and the model card; gives the metrics and the card."""
    X, y_true = test.drop(columns=TARGET), test[TARGET]
    probabilities = model.predict_proba(X)
    y_pred = model.classes_[probabilities.argmax(axis=1)]
    metrics = score(y_true, y_pred, probabilities, model.classes_, train[TARGET])
    (REPORTS / "metrics.json").write_text(json.dumps(metrics, indent=2))
    plots = draw_plots(model, X, y_true, y_pred, probabilities, results)
    return metrics, write_card(model, len(train), len(test), metrics, plots)


def log_model(model: Pipeline, example: pd.DataFrame) -> str:
    """Save the model, and log it to the active run; gives the id of the logged model."""
    joblib.dump(model, MODEL)
    logged = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(example, model.predict(example)),
        input_example=example,
        pip_requirements=REQUIREMENTS,
        serialization_format="cloudpickle",
    )
    return str(logged.model_id)


def log_table(table: pd.DataFrame, path: Path) -> None:
    """Log a table as an input of the active run."""
    # MLflow looks at every value to describe the columns, which takes seconds for a million rows.
    rows = table.head(N_DESCRIBED_ROWS)
    mlflow.log_input(mlflow.data.from_pandas(rows, source=str(path), name=path.stem, targets=TARGET))  # type: ignore[attr-defined]  # made at run time


def main() -> None:
    """Run the five steps under one MLflow run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path)
    source: Path | None = parser.parse_args().table
    for folder in (RAW.parent, FEATURES.parent, MODEL.parent, PLOTS):
        folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("plain")
    with mlflow.start_run(run_name="plain") as parent:
        with mlflow.start_run(run_name="data_load", nested=True):
            table = load_table(source)
            table.to_parquet(RAW, index=False)
            raw_columns = table.columns.drop(TARGET)
            mlflow.log_params({"source": source or "iris"})
            mlflow.log_metrics({"n_rows": len(table), "n_columns": table.shape[1]})
            log_table(table, RAW)

        with mlflow.start_run(run_name="featurize", nested=True):
            log_table(table, RAW)
            if source is None:
                table = add_ratios(table)
            table.to_parquet(FEATURES, index=False)
            mlflow.log_metrics({"n_features": table.shape[1] - 1})

        with mlflow.start_run(run_name="data_split", nested=True):
            log_table(table, FEATURES)
            train, test = split_rows(table)
            train.to_parquet(TRAIN, index=False)
            test.to_parquet(TEST, index=False)
            mlflow.log_params({"test_size": 0.2, "random_state": SEED})
            mlflow.log_metrics({"n_train_rows": len(train), "n_test_rows": len(test)})

        with mlflow.start_run(run_name="train", nested=True):
            log_table(train, TRAIN)
            results, cv_metrics = None, dict[str, float]()
            if source is None:
                model, results, cv_metrics = search(train)
                results.to_csv(REPORTS / "cv_results.csv", index=False)
                (REPORTS / "cv_metrics.json").write_text(json.dumps(cv_metrics, indent=2))
                mlflow.log_params({"cv": N_FOLDS, "scoring": SCORING, "param_grid": PARAM_GRID})
                mlflow.log_metrics(cv_metrics)
                mlflow.log_artifact(str(REPORTS / "cv_results.csv"))
            else:
                model = fit_once(train)
            estimator_params = model["estimator"].get_params()
            mlflow.log_params({f"best.{name}": value for name, value in estimator_params.items()})
            # The model that is kept takes raw columns.
            features = [] if source else [("features", FunctionTransformer(add_ratios))]
            model_id = log_model(Pipeline([*features, *model.steps]), train[raw_columns].head())

        with mlflow.start_run(run_name="evaluate", nested=True):
            log_table(test, TEST)
            metrics, card = evaluate(model, train, test, results)
            flat = {name: value for name, value in metrics.items() if isinstance(value, float)}
            mlflow.log_params({"n_bootstrap": N_BOOTSTRAP})
            mlflow.log_metrics(flat, model_id=model_id)
            mlflow.log_artifact(str(card))
            mlflow.log_artifacts(str(PLOTS), "plots")

        mlflow.log_params({"source": source or "iris", "random_state": SEED})
        mlflow.log_metrics(cv_metrics | flat)
        mlflow.log_artifact(str(card))
        mlflow.log_artifacts(str(PLOTS), "plots")
    print(f"{parent.info.run_id}: f1_macro {flat['test_f1_macro']:.4f}")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
