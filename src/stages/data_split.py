"""Stage `data_split`: from `features.parquet` to training and test rows, data checks and a page about the data."""

from src.compute.start import start_engine
from src.config.schema import Config
from src.data.columns import read_columns
from src.data.files import write_text
from src.data.findings import write_findings
from src.data.parts import list_parts, new_table
from src.data_split.checks import report_findings, run_checks
from src.data_split.data_report import describe_rows
from src.data_split.split import plan_split, write_split
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def data_split(config: Config) -> StageResult:
    """Split the rows into train and test, check the data, and describe the training rows."""
    settings, base, path = config.data_split, config.base, config.featurize.features_path
    parts = list_parts(path, made_by="featurize")
    columns = read_columns(config.data_load.schema_path)
    with start_engine(config.compute, [path]) as engine:
        plan = plan_split(parts, base, settings, engine)
        with new_table(settings.test_path) as test, new_table(settings.train_path) as train:
            split = write_split(parts, plan, train, test, engine)
            findings = run_checks(split, columns, config, engine)
            report_findings(findings, settings.checks)
    n_train, n_test = plan.n_rows.sum(axis=1).tolist()
    write_findings(findings, settings.checks_path)
    page = describe_rows(split.sample, n_train, config.data_load.table_name, base.target_column, base.random_state)
    write_text(page, settings.data_report_path)
    return StageResult(
        metrics={"n_train_rows": n_train, "n_test_rows": n_test, "n_failed_checks": len(findings)},
        tags={f"check.{finding.kind}": finding.message for finding in findings},
        artifacts=[settings.data_report_path],
    )


if __name__ == "__main__":
    run_stage(data_split)
