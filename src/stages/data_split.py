"""Stage `data_split`: from `features.parquet` to training and test rows, data checks and a page about the data."""

from src.config.schema import Config
from src.data.columns import read_columns
from src.data.files import read_table, write_table, write_text
from src.data.findings import write_findings
from src.data_split.checks import report_findings, run_checks
from src.data_split.data_report import describe_rows
from src.data_split.split import split_table
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def data_split(config: Config) -> StageResult:
    """Split the rows into train and test, check the data, and describe the training rows."""
    settings, base = config.data_split, config.base
    # No name refers to the table, so its columns are freed as they are split.
    train, test = split_table(read_table(config.featurize.features_path, made_by="featurize"), base, settings)
    columns = read_columns(config.data_load.schema_path)
    findings = run_checks(train, test, columns, config)
    report_findings(findings, settings.checks)
    write_table(train, settings.train_path)
    write_table(test, settings.test_path)
    write_findings(findings, settings.checks_path)
    page = describe_rows(train, config.data_load.table_name, base.target_column, base.random_state)
    write_text(page, settings.data_report_path)
    return StageResult(
        metrics={"n_train_rows": len(train), "n_test_rows": len(test), "n_failed_checks": len(findings)},
        tags={f"check.{finding.kind}": finding.message for finding in findings},
        artifacts=[settings.data_report_path],
    )


if __name__ == "__main__":
    run_stage(data_split)
