"""Fit FLAML with defaults and predict: `python flaml_fit.py FOLDER TARGET TASK SECONDS SEED`.

It runs in an environment of its own and imports nothing of this project. `train.csv` and `test.csv` of the folder are
its input, `flaml.csv` with the column `prediction` and, for classes, `probability_<class>` is its output.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from flaml import AutoML


def main() -> None:
    """Fit on `train.csv`, and predict `test.csv`."""
    folder, target, task, seconds, seed = Path(sys.argv[1]), *sys.argv[2:6]
    train, test = (pd.read_csv(folder / f"{name}.csv") for name in ("train", "test"))
    train = train[train[target].notna()]
    y_train = train.pop(target)
    if task == "classification":
        y_train = y_train.astype(int) if y_train.dtype == "float64" else y_train
        y_train = y_train.astype(str).astype(object)
    # With the strings of pandas 3, FLAML 2.7 fails.
    text = [name for name in train if not pd.api.types.is_numeric_dtype(train[name])]
    for table in (train, test):
        table[text] = table[text].astype(object)
    model = AutoML()
    model.fit(train, y_train.to_numpy(), task=task, time_budget=float(seconds), seed=int(seed), n_jobs=1, verbose=0)
    test = test[list(train)]
    predictions = pd.DataFrame({"prediction": np.asarray(model.predict(test))})
    if task == "classification":
        for label, column in zip(model.classes_, model.predict_proba(test).T, strict=True):
            predictions[f"probability_{label}"] = column
    predictions.to_csv(folder / "flaml.csv", index=False)
    sys.stdout.write(f"{model.best_estimator} {model.best_config}\n")


if __name__ == "__main__":
    main()
