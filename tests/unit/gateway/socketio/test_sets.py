"""Sets of subscriptions: the same name wherever they are made, and read back only as what they are named."""

from __future__ import annotations

import pytest

from broker.topics import Pattern
from gateway.delivery import ALL, LATEST, Delivery
from gateway.interest import Want, Wants
from gateway.socketio.sets import NAME_CHARS, maybe_wants, set_name, set_text


def wants(*patterns: str, delivery: Delivery = ALL) -> Wants:
    return frozenset(Want(Pattern(each), delivery) for each in patterns)


SETS = [
    pytest.param(wants(), id="nothing"),
    pytest.param(wants("a"), id="one"),
    pytest.param(wants("a", "b/*", "c/**", "ä"), id="several"),
    pytest.param(wants("a", "b", delivery=LATEST), id="newest values"),
    pytest.param(wants("a", delivery=Delivery.HZ_5), id="a few a second"),
    pytest.param(
        wants("a", delivery=Delivery.HZ_5) | wants("b", delivery=LATEST), id="less than all, differently"
    ),
]


@pytest.mark.parametrize("given", SETS)
def test_what_is_kept_is_read_back(given: Wants) -> None:
    name = set_name(given)
    assert len(name) == NAME_CHARS
    assert maybe_wants(name, set_text(given)) == given


def test_names_differ() -> None:
    names = {set_name(each.values[0]) for each in SETS}  # type: ignore[arg-type]
    assert len(names) == len(SETS)


def test_the_order_makes_no_difference() -> None:
    many = [str(number) for number in range(100)]
    assert set_text(wants(*many)) == set_text(wants(*reversed(many)))


def test_a_name_is_for_ever() -> None:
    """Clients come back with it after an update of ours."""
    assert set_text(wants("b/*", "a")) == '[["a",101],["b/*",101]]'
    assert set_name(wants("b/*", "a")) == "ALWt9fMNRH-VO8f854bR-I"


def test_how_much_is_wanted_is_part_of_it() -> None:
    newest_of_b, newest_of_a = wants("b", delivery=LATEST), wants("a", delivery=LATEST)
    sets = [wants("a", "b"), wants("a") | newest_of_b, wants("b") | newest_of_a]
    assert len({set_name(each) for each in sets}) == 3


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[["b",101]]', id="of another set"),
        pytest.param('[["a",100]]', id="delivered otherwise"),
        pytest.param('[["a",7]]', id="no delivery that there is"),
        pytest.param('[["a//b",101]]', id="no pattern"),
        pytest.param('["a"]', id="of another form"),
        pytest.param("", id="nothing"),
        pytest.param("{", id="no JSON"),
    ],
)
def test_what_is_not_that_set_is_none(text: str) -> None:
    assert maybe_wants(set_name(wants("a")), text) is None


@pytest.mark.parametrize("given", [wants("$system/load"), wants("a", "$system/load")])
def test_what_nobody_may_go_on_with_is_none(given: Wants) -> None:
    assert maybe_wants(set_name(given), set_text(given)) is None
