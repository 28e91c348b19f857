"""What the docs hold, for the tests that hold them to it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.processes import REPO

DOCS = REPO / "docs"
README = REPO / "README.md"
OPERATING = DOCS / "operating.md"
PRODUCERS = DOCS / "producers.md"
PROTOCOL = DOCS / "protocol.md"
SOCKET_IO = DOCS / "socketio.md"
SUBSCRIBERS = DOCS / "subscribers.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str, under: str = "") -> list[str]:
    """The fenced blocks of a page in that language; with `under` those of the section with that heading."""
    text = section(page.read_text(), under) if under else page.read_text()
    return [code for kind, code in _BLOCK.findall(text) if kind == language]


def lines(page: Path, language: str, under: str = "") -> list[str]:
    """The lines of those blocks, empty ones left out."""
    return [line for code in blocks(page, language, under) for line in code.splitlines() if line]


def rows(page: Path, under: str) -> list[list[str]]:
    """The cells of the tables below that heading, without their heads."""
    found: list[list[str]] = []
    is_body = False
    for line in section(page.read_text(), under).splitlines():
        is_row = line.startswith("|")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if is_row and is_body:
            found.append(cells)
        is_body = is_row and (is_body or set("".join(cells)) <= {"-", " "})
    assert found, f"no table below {under!r} in {page.name}"
    return found


def first_cells(page: Path, under: str) -> set[str]:
    """What the rows of those tables are about, without the quotes of code."""
    return {row[0].strip("`") for row in rows(page, under)}


def section(text: str, heading: str) -> str:
    """From the heading to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", prose(text), re.MULTILINE)
    assert found, f"no heading {heading!r}"
    end = re.search(rf"^#{{1,{len(found[1])}}} ", prose(text)[found.end() :], re.MULTILINE)
    return text[found.end() : found.end() + end.start() if end else len(text)]


def prose(text: str) -> str:
    """The text with fenced blocks blanked, places kept: a comment in a block is no heading."""
    return _BLOCK.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
