import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml

from src.config.load import load_config
from src.config.schema import Config
from src.config.section import Section
from src.tracking import names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
# Constants of names.py that are neither tags nor environment variables.
NOT_TAGS = {"UNKNOWN"}
# Files that the reader makes while following a page, and what a run creates.
MADE_BY_THE_READER = {"src/report/describing.py", "src/stages/describe.py", "src/config/describe.py"}


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


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> list[str]:
    return blocks_of(page, "sh") + re.findall(r"`([^`\n]+)`", text_of(page))


def settings_of(section: type[Section], prefix: str = "") -> Iterator[str]:
    """List the settings of a section, and of the sections in it; a choice of sections is one setting."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from settings_of(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def is_setting(annotation: Any, keys: list[str]) -> bool:
    if not keys:
        return True
    if isinstance(annotation, type) and issubclass(annotation, Section):
        field = annotation.model_fields.get(keys[0])
        return field is not None and is_setting(field.annotation, keys[1:])
    if get_origin(annotation) is dict:
        return is_setting(get_args(annotation)[1], keys[1:])
    return any(is_setting(part, keys) for part in get_args(annotation))


def value_at(content: dict[str, Any], setting: str) -> Any:
    for key in setting.split("."):
        content = content[key]
    return content


def tree_of_readme() -> set[str]:
    """List the paths in the annotated tree; those of folders end in a slash."""
    (tree,) = [block for block in blocks_of(ROOT / "README.md", "text") if block.startswith("Makefile ")]
    paths: set[str] = set()
    folders: list[str] = []
    for line in tree.splitlines():
        match = re.fullmatch(r"( *)(\S+) {2,}(\S.*)|( *)(\S+/)", line)
        assert match, f"{line!r} has no description"
        depth, name = len(match[1] or match[4] or "") // 2, match[2] or match[5]
        folders = folders[:depth]
        paths.add("".join([*folders, name]))
        folders.append(name)
    return paths


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
    for name in ("Makefile", "mkdocs.yaml", "CONTRIBUTING.md"):
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
def test_make_commands_of_a_page_exist(page: Path) -> None:
    called = [call for code in commands_of(page) for call in re.findall(r"(?:^|[\s`$])make ([a-z-][^\n#`]*)", code)]
    words = [word for call in called for word in call.split()]
    targets = {call.split()[0] for call in called}
    variables = {word.partition("=")[0] for word in words if re.match("[A-Z]+=", word)}
    assert targets <= make_targets()
    makefile = text_of(ROOT / "Makefile")
    assert {name for name in variables if not re.search(rf"\b{name}\b", makefile)} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_commands_of_a_page_exist(page: Path) -> None:
    for code in commands_of(page):
        for module, arguments in re.findall(r"python -m (src\.[\w.]+)([^\n)]*)", code):
            if f"{module.replace('.', '/')}.py" in MADE_BY_THE_READER | {"src/stages/NAME.py"}:
                continue
            path = ROOT / f"{module.replace('.', '/')}.py"
            assert path.exists(), module
            if "stages" not in module:
                source = text_of(path)
                assert [option for option in re.findall(r"--[\w-]+", arguments) if f'"{option}"' not in source] == []


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
    named = set(re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/.-]+)`", text_of(page))) - MADE_BY_THE_READER
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_paths_in_the_tree_of_the_readme_exist() -> None:
    tree = tree_of_readme()
    assert sorted(path for path in tree if not (ROOT / path).exists()) == []
    assert sorted(path for path in tree if (ROOT / path).is_dir() != path.endswith("/")) == []


def test_tree_of_the_readme_names_every_folder_of_code_and_every_file_of_the_root() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [Path(line) for line in listed.splitlines() if not line.startswith(".")]
    expected = {f"{path.parts[0]}/" if len(path.parts) > 1 else path.name for path in paths}
    expected |= {f"src/{path.parts[1]}/" for path in paths if path.parts[0] == "src" and len(path.parts) > 2}
    # A reader finds these without a tree.
    assert expected - {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"} - tree_of_readme() == set()


def test_every_setting_is_documented_with_its_default() -> None:
    params = yaml.safe_load(text_of(ROOT / "params.yaml"))
    page = DOCS / "settings.md"
    rows = dict(re.findall(r"^\| `([a-z_]+\.[\w.]+)` \| (.+?) \| .+ \|$", text_of(page), re.MULTILINE))
    assert list(rows) == list(settings_of(Config))
    # The default of a long one is a block of its own.
    blocks: list[dict[str, Any]] = [yaml.safe_load(block) for block in blocks_of(page, "yaml")]
    documented = {
        setting: yaml.safe_load(cell.strip("`"))
        if cell.startswith("`")
        else next(value_at(block, setting) for block in blocks if setting.split(".")[0] in block)
        for setting, cell in rows.items()
    }
    assert documented == {setting: value_at(params, setting) for setting in rows}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    sections = "|".join(Config.model_fields)
    named = set(re.findall(rf"`((?:{sections})(?:\.[a-z]\w*)+)(?=[`:=])", text_of(page)))
    named = {name for name in named if not name.endswith((".py", ".parquet", ".md"))}
    assert sorted(name for name in named if not is_setting(Config, name.split("."))) == []


def settings_blocks() -> list[Any]:
    blocks = [(page, yaml.safe_load(block)) for page in PAGES for block in blocks_of(page, "yaml")]
    return [pytest.param(block, id=f"{name_of(page)}-{number}") for number, (page, block) in enumerate(blocks)]


@pytest.mark.parametrize("block", settings_blocks())
def test_settings_in_a_code_block_are_accepted(block: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    params = yaml.safe_load(text_of(ROOT / "params.yaml"))
    # The features of the demo are of another table than the examples.
    params["featurize"]["features"] = {}
    for section, settings in block.items():
        params[section] |= settings
    if params["data_load"]["source"]["kind"] == "file":
        params["data_load"]["external_path"] = "data/external/table.csv"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    load_config(path)


def choices() -> Iterator[Any]:
    """List the rows of tables that have a setting in their header, and its values below."""
    for page in PAGES:
        for setting, rows in re.findall(
            r"^\| `([a-z_]+\.\w+)` \|.*\n\| ---.*\n((?:\|.*\n)+)", text_of(page), re.MULTILINE
        ):
            for value in re.findall(r"^\| `(.+?)` \|", rows, re.MULTILINE):
                yield pytest.param(setting, value, id=f"{setting}-{value}")


@pytest.mark.parametrize(("setting", "value"), list(choices()))
def test_values_in_a_table_of_a_setting_are_accepted(setting: str, value: str) -> None:
    section, key = setting.split(".")
    params = yaml.safe_load(text_of(ROOT / "params.yaml"))
    params[section][key] = yaml.safe_load(value)
    Config.model_validate(params)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_of_a_page_compiles(page: Path) -> None:
    for block in blocks_of(page, "python(?: title=[^\n]*)?"):
        compile(block, name_of(page), "exec")


def test_ci_ends_with_the_tests() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert [line for line in text_of(script).splitlines() if line.startswith("make ")][-1].startswith("make test")


def test_github_runs_what_ci_runs() -> None:
    jobs = yaml.safe_load(text_of(ROOT / ".github/workflows/ci.yaml"))["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]
