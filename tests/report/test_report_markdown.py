import re

from mlff_md.report.markdown import to_markdown

from .samples import hostile_report


def test_table_has_a_row_for_each_check(failing):
    text = to_markdown(failing)
    rows = [line for line in text.splitlines() if line.endswith(("pass |", "fail |"))]
    assert len(rows) == len(failing.checks)
    assert "❌ **Fail**" in text
    assert "0.302 meV/atom/ps".replace(" ", "\u00a0") in text


def test_figures_are_links(failing, written):
    links = re.findall(r"\]\((figures/[^)]+)\)", to_markdown(failing))
    assert len(links) == len(failing.figures)
    assert all((written.json.parent / link).is_file() for link in links)


def test_hostile_text_stays_text():
    text = to_markdown(hostile_report())
    assert not re.search(r"(?<!\\)<script", text.partition("```")[0])
    for line in text.splitlines():
        if line.startswith("| ") and line.endswith(" |"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 6)
    text.encode()
