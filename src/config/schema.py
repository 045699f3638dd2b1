"""The settings of `params.yaml`: one frozen section per stage, unknown keys refused."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

# Parameters that a grid may search, by estimator. Written out because the whole
# configuration is checked before any stage runs, and importing scikit-learn for
# it would cost a second per stage; a test compares them with scikit-learn.
ESTIMATOR_PARAMS: dict[str, tuple[str, ...]] = {
    "knn": ("algorithm", "leaf_size", "metric", "n_neighbors", "p", "weights"),
    "logreg": ("C", "class_weight", "fit_intercept", "l1_ratio", "max_iter", "solver", "tol"),
    "svm": ("C", "class_weight", "coef0", "degree", "gamma", "kernel", "max_iter", "tol"),
}


def _inside_repository(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise ValueError("must be a relative path inside the repository")
    return path


def _no_credentials(url: str) -> str:
    # params.yaml is committed, and logged to every run. `ssh://git@host` tells no secret.
    if re.search("^https?://[^/]*@|://[^/]*:[^/]*@", url):
        raise ValueError("must hold no credentials; git's credential helper or an SSH key keeps them")
    return url


def _number_of_processes(n_jobs: int) -> int:
    if n_jobs == 0:
        raise ValueError("must be -1 for all cores or a number of processes")
    return n_jobs


RepoPath = Annotated[Path, Field(strict=False), AfterValidator(_inside_repository)]
ColumnName = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Base of every section: values are not coerced and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Base(Section):
    """What several stages share."""

    random_state: Annotated[int, Field(ge=0, le=2**32 - 1)]
    target_column: ColumnName
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class SklearnSource(Section):
    """A table that comes with scikit-learn."""

    kind: Literal["sklearn"]
    name: Literal["breast_cancer", "iris", "wine"]


class DvcSource(Section):
    """A version of a table in this or another DVC repository.

    Attributes:
        path: Path of the Parquet file in that repository.
        repo: Git URL or local path; `.` is this repository.
        rev: Tag, branch or commit.
    """

    kind: Literal["dvc"]
    path: Annotated[str, Field(min_length=1)]
    repo: Annotated[str, Field(min_length=1), AfterValidator(_no_credentials)]
    rev: Annotated[str, Field(min_length=1)]


class DataLoad(Section):
    """Where the rows come from."""

    source: Annotated[SklearnSource | DvcSource, Field(discriminator="kind")]
    dataset_path: RepoPath


class Feature(Section):
    """One new column, computed row by row."""

    ratio: Annotated[list[ColumnName], Field(min_length=2, max_length=2)]


class Featurize(Section):
    """New columns by name."""

    features: dict[ColumnName, Feature]
    features_path: RepoPath


class DataSplit(Section):
    """How rows are divided."""

    test_size: Annotated[float, Field(gt=0, lt=1)]
    train_path: RepoPath
    test_path: RepoPath


class Train(Section):
    """Which estimator is searched, over which grid, judged how."""

    estimator: Literal["knn", "logreg", "svm"]
    cv: Annotated[int, Field(ge=2)]
    scoring: Literal["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"]
    n_jobs: Annotated[int, Field(ge=-1), AfterValidator(_number_of_processes)]
    param_grid: dict[str, dict[str, Annotated[list[Any], Field(min_length=1)]]]
    model_path: RepoPath
    cv_metrics_path: RepoPath

    # Of the field, not of the section: pydantic drops the latter while another field is wrong.
    @field_validator("param_grid")
    @classmethod
    def _grid_fits_the_estimators(cls, grids: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        faults = []
        for estimator, grid in grids.items():
            supported = ESTIMATOR_PARAMS.get(estimator)
            if supported is None:
                faults.append(f"{estimator} names no estimator; choose of {', '.join(sorted(ESTIMATOR_PARAMS))}")
                continue
            faults += [
                f"{estimator}.{name} is no parameter of {estimator}; choose of {', '.join(supported)}"
                for name in sorted(set(grid) - set(supported))
            ]
        chosen = info.data.get("estimator")
        if chosen and chosen not in grids:
            faults.append(f"{chosen} is missing: `{{}}` searches nothing")
        if faults:
            raise ValueError("\n".join(faults))
        return grids


class Evaluate(Section):
    """Where the report goes."""

    metrics_path: RepoPath
    confusion_matrix_path: RepoPath


class Tracking(Section):
    """Whether and under which name MLflow records the pipeline."""

    enabled: bool
    experiment_name: Annotated[str, Field(min_length=1, max_length=500)]


class Config(Section):
    """The whole of `params.yaml`."""

    base: Base
    data_load: DataLoad
    featurize: Featurize
    data_split: DataSplit
    train: Train
    evaluate: Evaluate
    tracking: Tracking

    @model_validator(mode="after")
    def _sections_agree(self) -> "Config":
        target, faults = self.base.target_column, []
        for name, feature in self.featurize.features.items():
            if target in (name, *feature.ratio):
                faults.append(
                    f"featurize.features.{name} uses base.target_column = {target!r}: "
                    "a feature must not know the answer"
                )
        paths = [
            str(value)
            for section in (self.data_load, self.featurize, self.data_split, self.train, self.evaluate)
            for key, value in section
            if re.search("_path$", key)
        ]
        faults += [
            f"{path!r} is the path of {paths.count(path)} outputs; each output needs its own"
            for path in sorted({path for path in paths if paths.count(path) > 1})
        ]
        if faults:
            raise ValueError("\n".join(faults))
        return self
