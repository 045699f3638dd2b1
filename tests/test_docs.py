import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from src.tracking import names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
# Constants of names.py above its tags are environment variables; these are neither.
NOT_TAGS = {"UNKNOWN"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def documented_modules() -> set[str]:
    pages = "\n".join(map(text_of, (DOCS / "reference").glob("*.md")))
    return set(re.findall(r"^::: (src[\w.]*)$", pages, re.MULTILINE))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text_of(ROOT / "Makefile"), re.MULTILINE))


def tags_of_names() -> dict[str, str]:
    source = text_of(ROOT / "src/tracking/names.py")
    tags = source.partition("# Tags of runs")[2]
    constants = set(re.findall(r"^([A-Z_0-9]+) = ", tags, re.MULTILINE)) - NOT_TAGS
    return {constant: getattr(names, constant) for constant in sorted(constants)}


def test_every_module_is_in_the_reference() -> None:
    documented = documented_modules()
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "src").rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in paths} - {"src"}
    # A page of a package shows its modules: `show_submodules` in mkdocs.yaml.
    missing = {module for module in modules if not {module, module.rpartition(".")[0]} & documented}
    assert not missing


def test_a_page_of_a_package_shows_its_modules() -> None:
    config = yaml.safe_load(text_of(ROOT / "mkdocs.yaml"))
    plugins = [plugin["mkdocstrings"] for plugin in config["plugins"] if isinstance(plugin, dict)]
    assert plugins[0]["handlers"]["python"]["options"]["show_submodules"]


@pytest.mark.slow
def test_docs_are_refused_for_a_broken_reference_and_for_nothing_else(tmp_path: Path) -> None:
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "mkdocs.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    with (tmp_path / "docs/index.md").open("a", encoding="utf-8") as page:
        page.write("\n[gone][src.gone]\n")
    result = subprocess.run(
        ["make", "-o", "dev-install", "docs"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "Could not find cross-reference target 'src.gone'" in warnings[0]
    assert result.returncode == 2


def test_every_page_is_in_the_navigation() -> None:
    nav = str(yaml.safe_load(text_of(ROOT / "mkdocs.yaml"))["nav"])
    assert [page for page in DOCS.rglob("*.md") if f"'{page.relative_to(DOCS).as_posix()}'" not in nav] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_that_a_page_names_exist(page: Path) -> None:
    code = re.findall(r"```sh\n(.*?)```", text_of(page), re.DOTALL) + re.findall(r"`([^`\n]+)`", text_of(page))
    named = {target for snippet in code for target in re.findall(r"(?:^|[\s`$])make ([a-z-]+)", snippet)}
    assert named <= make_targets()


@pytest.mark.parametrize(("constant", "tag"), tags_of_names().items())
def test_every_tag_is_in_the_table(constant: str, tag: str) -> None:
    table = text_of(DOCS / "tracking.md").partition("## Tags")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    # A constant that ends in a dot is the beginning of a name.
    assert any(row.startswith(f"{tag}<") if tag.endswith(".") else row == tag for row in rows), constant


def test_the_tags_are_found_in_the_source() -> None:
    assert {"pipeline.kind", "dvc.md5.", "stage."} <= set(tags_of_names().values())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(page))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", text_of(page)))
    # Made by the reader in the walk-through of a new stage.
    named -= {"src/report/describing.py", "src/stages/describe.py"}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_ci_ends_with_the_tests() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert [line for line in text_of(script).splitlines() if line.startswith("make ")][-1].startswith("make test")


def test_github_runs_what_ci_runs() -> None:
    jobs = yaml.safe_load(text_of(ROOT / ".github/workflows/ci.yaml"))["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]
