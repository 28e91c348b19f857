"""The page of the faults says what the runs do."""

from __future__ import annotations

from tests.faults.rows import ROWS
from tests.support.docs import DOCS, rows


def test_the_page_has_each_row_as_it_is() -> None:
    said = {name: (what, target) for name, what, target in rows(DOCS / "faults.md", "The faults")}
    assert said == {name: (row.what, row.target) for name, row in ROWS.items()}
