"""Values under names: which of them go, and in which order."""

from __future__ import annotations

import pytest

from broker import shelf as shelves
from broker.shelf import Item, Shelf


def shelf_with(*names: str, size: int = 10) -> Shelf:
    shelf = Shelf()
    for name in names:
        shelf.put(Item(shelf.next_number, name, b"x" * size))
    return shelf


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


@pytest.mark.parametrize(
    ("there", "used", "size", "leaving"),
    [
        pytest.param("", "", 40, [], id="the first"),
        pytest.param("a b c", "", 10, [], id="there is room"),
        pytest.param("a b c d", "", 0, ["a"], id="too many: the longest unused"),
        pytest.param("a b c d", "a", 0, ["b"], id="a use counts"),
        pytest.param("a b c d", "a b c d", 0, ["a"], id="all are used"),
        pytest.param("a b c", "", 25, ["a", "b"], id="too large: as many as it takes"),
        pytest.param("a b c", "", 40, ["a", "b", "c"], id="all"),
        pytest.param("key:1 a key:2 b", "", 0, ["a"], id="secrets stay"),
        pytest.param("key:1 a key:2 b", "", 30, ["a", "b", "key:1"], id="secrets go last"),
        pytest.param("key:1 key:2 key:3 key:4", "key:1", 0, ["key:2"], id="nothing but secrets"),
        pytest.param("key a b c", "", 0, ["key"], id="no secret"),
    ],
)
def test_the_longest_unused_go_and_secrets_last(
    monkeypatch: pytest.MonkeyPatch, there: str, used: str, size: int, leaving: list[str]
) -> None:
    monkeypatch.setattr(shelves, "KEPT_MAX", 4)
    monkeypatch.setattr(shelves, "KEPT_MAX_BYTES", 40)
    shelf = shelf_with(*there.split())
    for name in used.split():
        shelf.use(name)
    going = shelf.leaving(size)
    assert names(going) == leaving
    shelf.remove(going)
    assert (len(shelf), shelf.size) == (len(there.split()) - len(going), 10 * len(shelf))
    assert shelf.leaving(size) == []


def test_what_is_written_anew_stands_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "KEPT_MAX", 2)
    shelf = shelf_with("a", "b")
    shelf.put(Item(7, "a", b"x" * 10))
    assert (len(shelf), shelf.size, shelf.next_number) == (2, 20, 8)
    assert names(shelf.leaving(0)) == ["a"]


def test_numbers_go_on_from_the_largest() -> None:
    shelf = shelf_with("a", "b")
    shelf.remove([Item(2, "b", b"x" * 10)])
    assert (shelf.next_number, shelf.maybe("b")) == (3, None)
