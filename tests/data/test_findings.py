from pathlib import Path

import pytest

from src.data.findings import Finding, read_findings, write_findings
from src.errors import MissingInputError


def test_findings_round_trip_through_the_file(tmp_path: Path) -> None:
    findings = [Finding("leak", "a predicts the target", ["a"]), Finding("constant", "b has one value")]
    write_findings(findings, tmp_path / "checks.json")
    assert read_findings(tmp_path / "checks.json") == findings


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "[{}]", '[{"kind": "a", "message": [1]}]', "[" * 100_000])
def test_missing_or_damaged_findings_name_the_stage_that_makes_them(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "checks.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MissingInputError, match="stage data_split makes it: run `dvc repro data_split`"):
        read_findings(path)
