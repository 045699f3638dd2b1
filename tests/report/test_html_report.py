import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.findings import Finding
from src.report.content import Facts, build_report
from src.report.html_report import data_uri, place_on_scale, write_page
from src.report.model_card import write_card
from src.report.visualizing import draw_figures, write_figures
from tests.report.conftest import ODD_NAMES, make_classes
from tests.report.facts import make_config, make_facts

NASTY = [
    "<script>alert(1)</script>",
    "</title></style>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "&amp;",
    *ODD_NAMES,
]
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def plots(tmp_path: Path) -> list[Path]:
    figures = draw_figures(make_classes(40, 3), make_classes(40, 3), pd.DataFrame(), pd.DataFrame(), "f1_macro")
    return write_figures(figures, tmp_path / "reports/plots")


def write(facts: Facts | None = None, **changes: Any) -> str:
    report = build_report(facts or make_facts(plots=[]), make_config(**changes))
    return write_page(report, Path("reports/report.html"))


def test_title_and_header_show_table_target_score_and_verdict() -> None:
    page = Page(write())
    words = " ".join(page.text.split())
    assert "iris, predicting target" in words
    for expected in ("test_f1_macro 0.9000", "95 % interval 0.8123 to 0.9500", "baseline 0.2500",
                     "Better than the baseline", "Chosen: LogisticRegression with C=0.1"):  # fmt: skip
        assert expected in words


def test_page_needs_no_network_no_script_and_no_other_file(plots: list[Path]) -> None:
    html = write(make_facts(plots=plots))
    page = Page(html)
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.all("img"))
    assert not re.search(r"url\(|@import|https?://", html)


def test_figures_are_the_files_of_the_plots(plots: list[Path]) -> None:
    images = Page(write(make_facts(plots=plots))).all("img")
    assert [image["src"] for image in images] == [data_uri(path) for path in plots]
    assert all(image["alt"] for image in images)


def test_page_of_the_data_is_linked_relative_to_the_report() -> None:
    links = [link["href"] for link in Page(write(data_split__data_report_path="data/pages/data.html")).all("a")]
    assert "../data/pages/data.html" in links


def test_every_section_is_in_the_list_of_contents() -> None:
    page = Page(write())
    ids = [f"#{section['id']}" for section in page.all("section")]
    assert [link["href"] for link in page.all("a")][: len(ids)] == ids


@pytest.mark.parametrize("name", [*NASTY, "n" * 500])
def test_any_name_is_shown_as_text(name: str) -> None:
    facts = make_facts(
        plots=[],
        predictions=replace(make_classes(40, 2), labels=[name, "other"]),
        X_shown=pd.DataFrame({name: [name, "x"] * 20}),
        features={"category": [name]},
        candidates=pd.DataFrame({"estimator": [name] * 2, "C": [name, "b"], "mean": 0.5, "std": 0.1, "rank": 1}),
        findings=[Finding("leak", name)],
        md5s={name: name},
    )
    page, usual = Page(write(facts, base__target_column=name or "target")), Page(write())
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in usual.elements}
    assert page.text.count(" ".join(name.split())) + page.text.count(name) >= 5


def test_card_and_page_say_the_same(plots: list[Path]) -> None:
    report = build_report(make_facts(plots=plots), make_config())
    card = write_card(report, Path("reports/model_card.md"))
    words = " ".join(Page(write_page(report, Path("reports/report.html"))).text.split())
    sentences = [line for line in card.splitlines() if re.fullmatch(r"(- )?[A-Z][^`|\\]*\.", line)]
    assert len(sentences) >= 8
    assert [line for line in sentences if line.removeprefix("- ") not in words] == []


def test_same_content_is_the_same_page(plots: list[Path]) -> None:
    assert write(make_facts(plots=plots)) == write(make_facts(plots=plots))


@pytest.mark.parametrize(
    ("low", "high", "baseline", "expected"),
    [
        (0.8, 1.0, 0.2, {"value": 90, "low": 80, "high": 100, "baseline": 20}),
        (2.0, 4.0, 12.0, {"value": 0, "low": 9.91, "high": 27.93, "baseline": 100}),
        (0.9, 0.9, 0.9, {"value": 90, "low": 90, "high": 90, "baseline": 90}),
    ],
)
def test_headline_is_placed_on_its_scale(low: float, high: float, baseline: float, expected: dict[str, float]) -> None:
    metrics = {"test_f1_macro": 0.9, "test_f1_macro_ci95_low": low, "test_f1_macro_ci95_high": high}
    headline = build_report(make_facts(metrics=metrics | {"test_f1_macro_baseline": baseline}), make_config()).headline
    assert place_on_scale(headline) == pytest.approx(expected, abs=0.01)


def test_headline_without_a_number_has_no_scale() -> None:
    headline = build_report(make_facts(metrics={"test_f1_macro": 0.9}), make_config()).headline
    assert place_on_scale(headline) == {}
    html = write(make_facts(plots=[], metrics={}))
    assert "undefined" in html
    assert 'class="scale"' not in html
