import dataclasses
import re
from html.parser import HTMLParser

import pytest

from mlff_md.report.html import to_html

from .samples import sample_report

VOID = {"meta", "col", "br", "link", "img", "input", "hr"}


class _Page(HTMLParser):
    """Collects tags, identifiers and references; checks that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.references, self.text = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self._note(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self._note(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def _note(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name == "href":
                self.references.append(value)
            self.references += re.findall(r"url\(([^)]*)\)", value or "")


@pytest.fixture(scope="module")
def page(written):
    return written.html.read_text(encoding="utf-8")


def test_nothing_comes_from_outside(page):
    assert "http://" not in page
    assert "https://" not in page
    parsed = _Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert parsed.references
    assert all(reference.startswith("#") for reference in parsed.references)
    assert "@import" not in page
    assert "@font-face" not in page


def test_identifiers_are_unique_and_references_resolve(page):
    parsed = _Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)


def test_hostile_text_stays_text(hostile):
    text = hostile.html.read_text(encoding="utf-8")
    parsed = _Page(text)
    assert "<script" not in text
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert "<b>eV" not in text
    assert "&lt;b&gt;eV" in text
    assert not re.search("[\x00-\x08\x1b]", text)
    assert any("<script>alert(1)</script>" in data for data in parsed.text)
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)


@pytest.mark.parametrize(
    ("verdict", "word"), [("pass", "Pass"), ("fail", "Fail"), ("inconclusive", "Inconclusive")]
)
def test_verdict_comes_first_in_color_and_word(verdict, word):
    report = dataclasses.replace(sample_report(verdict), figures=())
    page = to_html(report, [])
    assert f'<div class="overall {verdict}">' in page
    assert f'<p class="word">{word}</p>' in page
    order = [page.index(text) for text in ("<h1>", 'class="word"', "<h2>Checks", "Provenance</h2>")]
    assert order == sorted(order)


def test_every_check_says_limit_citation_and_blind_spot(page, failing):
    words = "".join(_Page(page).text)
    for check in failing.checks:
        assert check.title in words
        assert check.summary in words
        assert check.source in words
        assert check.blind_to in words
    assert page.count("<details open>") == 2
    assert "≤ 0.05\u00a0meV/atom/ps" in words


def test_phone_dark_and_print(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_inline_figures_follow_the_page_colors(page, failing):
    drawings = re.findall(r'<svg role="img".*?</svg>|<svg [^>]*role="img".*?</svg>', page, re.S)
    assert len(drawings) == len(failing.figures)
    for drawing in drawings:
        assert "currentColor" in drawing
        assert "var(--c1)" in drawing
        assert not re.findall(r"#[0-9a-f]{6}\b(?![\w-])", re.sub(r'href="[^"]*"', "", drawing))
        assert "DejaVu" not in drawing
        assert "<style" not in drawing


def test_report_without_anything():
    empty = dataclasses.replace(
        sample_report(), checks=(), figures=(), quantities=(), provenance={}, verdict="inconclusive"
    )
    page = to_html(empty, [])
    _Page(page)
    assert "Nothing was judged" in page
