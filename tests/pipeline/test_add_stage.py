"""The steps of `Add a stage` in the documentation work."""

import json
import re
from pathlib import Path

import pytest

from tests.pipeline.clone import Clone

PAGE = Path(__file__).parents[2] / "docs/how-to/change.md"


def snippets() -> list[tuple[str, str, str]]:
    """Return language, file name and content of each code block that has a file name."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Add a stage\n")[2]
    return re.findall(r'^```(\w+) title="(.+?)"\n(.*?)^```', section, re.DOTALL | re.MULTILINE)


def patch(text: str, diff: str) -> str:
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] == " ")
        assert text.count(before) == 1, before
        text = text.replace(before, "".join(line[1:] for line in lines))
    return text


def follow(clone: Clone) -> list[str]:
    """Write all snippets into a clone, and return the files."""
    for language, name, content in snippets():
        path = clone.path / name
        if language == "diff":
            path.write_text(patch(path.read_text(), content))
        elif name == "dvc.yaml":
            path.write_text(path.read_text().replace("stages:\n", f"stages:\n{content}\n", 1))
        elif name == "params.yaml":
            path.write_text(f"{path.read_text()}\n{content}")
        else:
            assert not path.exists(), name
            path.write_text(content)
    return [name for _, name, _ in snippets()]


@pytest.mark.slow
def test_stage_that_is_added_as_documented_runs_and_is_recorded(clone: Clone) -> None:
    files = follow(clone)
    assert {"src/report/describing.py", "src/stages/describe.py", "params.yaml", "dvc.yaml"} <= set(files)
    clone.launch("--name", "describe", "describe", PIPELINE_WARM="0")
    means = json.loads(clone.read("reports/class_means.json"))
    assert means["setosa"]["petal_length"] == pytest.approx(1.462)
    run = clone.nested(clone.parent())["describe"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["setosa.petal_length"] == pytest.approx(1.462)
    assert run.data.params["describe.class_means_path"] == "reports/class_means.json"
    assert clone.parent().data.tags["stage.describe"] == "ran"
