"""Search the grid, and log the model."""

from pathlib import Path

import joblib
import mlflow
import pandas as pd
import yaml
from mlflow.models import infer_signature
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featurize import add_ratios

INPUT, MODEL, RESULTS = (
    Path("data/processed/train.parquet"),
    Path("models/model.joblib"),
    Path("reports/cv_results.csv"),
)

params = yaml.safe_load(Path("params.yaml").read_text())["train"]
table = pd.read_parquet(INPUT)
X, y = table.drop(columns="target"), table["target"]
steps = [
    ("impute", SimpleImputer(strategy="median")),
    ("scale", StandardScaler()),
    ("estimator", LogisticRegression(random_state=params["random_state"])),
]
folds = StratifiedKFold(params["cv"], shuffle=True, random_state=params["random_state"])
grid = {f"estimator__{name}": params[name] for name in ("C", "max_iter")}
search = GridSearchCV(Pipeline(steps), grid, scoring=params["scoring"], cv=folds).fit(X, y)
baseline = cross_val_score(DummyClassifier(), X, y, scoring=params["scoring"], cv=folds).mean()
results = pd.DataFrame(search.cv_results_["params"]).rename(columns=lambda name: name.removeprefix("estimator__"))
for name in ("mean", "std", "rank"):
    results[name] = search.cv_results_[f"{name}_test_score"]
model = Pipeline([("features", FunctionTransformer(add_ratios)), *search.best_estimator_.steps])
for path in (MODEL, RESULTS):
    path.parent.mkdir(parents=True, exist_ok=True)
joblib.dump(model, MODEL)
results.to_csv(RESULTS, index=False)

mlflow.set_experiment("dvc_mlflow")
with mlflow.start_run(), mlflow.start_run(run_name="train", nested=True):
    mlflow.log_params(params)
    mlflow.log_params({f"best.{name}": value for name, value in model["estimator"].get_params().items()})
    best = results.loc[search.best_index_]
    mlflow.log_metrics({"cv_mean": best["mean"], "cv_std": best["std"], "cv_baseline_mean": baseline})
    mlflow.log_artifact(str(RESULTS))
    mlflow.log_input(mlflow.data.from_pandas(table, source=str(INPUT), name="train", targets="target"))
    example = X.drop(columns=[name for name in X.columns if "_to_" in name]).head()
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(example, model.predict(example)),
        input_example=example,
        pip_requirements="requirements.txt",
        code_paths=["featurize.py"],
        serialization_format="cloudpickle",
    )
