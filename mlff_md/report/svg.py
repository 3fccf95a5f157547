"""Fit matplotlib's SVG into a web page: it takes the page's fonts and its light or dark colors."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mlff_md.report.wording import one_line

PAPER = "#ffffff"
INK = "#1b1e23"
MUTED = "#59616d"
GRID = "#e6e9ed"
# Okabe & Ito's palette for color-blind readers (doi:10.1038/nmeth.1618), black and yellow left out.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")

_VARIABLES = {
    PAPER: "var(--paper)",
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    **{color: f"var(--c{number})" for number, color in enumerate(PALETTE, 1)},
}
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\b")
_FONT_FAMILY = re.compile(r"font-family:[^;]*;?\s*")


def inline_svg(svg: str, prefix: str, description: str) -> str:
    """Return a matplotlib SVG as an element for an HTML page.

    Parameters
    ----------
    svg
        What matplotlib wrote with ``svg.fonttype: none``.
    prefix
        Put before every identifier, so that the clip paths of two figures on a page stay apart.
    description
        Read out by screen readers in place of the image.
    """
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = _local(element.tag)
    for parent in list(root.iter()):
        for child in [item for item in parent if item.tag in ("style", "metadata")]:
            # A style element would apply to the whole page; style.py says the same for figures.
            parent.remove(child)
    referenced = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))
    for element in root.iter():
        attributes = {_local(name): value for name, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update(_adapted(attributes, prefix, referenced))
        if element.tag != "text" and element.tag != "tspan":
            element.text = None
        element.tail = None
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": one_line(description)}
    return ElementTree.tostring(root, encoding="unicode")


def _adapted(attributes: dict[str, str], prefix: str, referenced: set[str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in attributes.items():
        if name == "id":
            if value in referenced:
                result[name] = prefix + value
        elif name == "href":
            result[name] = "#" + prefix + value.removeprefix("#")
        elif name == "style":
            result[name] = _COLOR.sub(
                lambda match: _VARIABLES.get(match[0].lower(), match[0]),
                _FONT_FAMILY.sub("", value),
            ).rstrip("; ")
        elif name == "d":
            result[name] = " ".join(value.split())
        elif name == "transform" and value.startswith("rotate(-0 "):
            continue
        else:
            result[name] = value.replace("url(#", f"url(#{prefix}")
    return result


def _local(name: str) -> str:
    return name.rpartition("}")[2]
