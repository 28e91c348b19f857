"""Which topics are chosen, and where among all of them they stand."""

from __future__ import annotations

import pytest

from broker.index import Index, Tail
from broker.selector import Selector

TOPICS = ["a", "a/b", "a/b/c", "a/bc", "ab", "b", "b/\U0010ffff", "b/ÿ", "c/a", "ÿ"]


@pytest.mark.parametrize(
    ("patterns", "prefixes", "starts", "chosen"),
    [
        pytest.param([], [], [], [], id="nothing"),
        pytest.param(["a/b"], [], ["a/b"], ["a/b"], id="a topic"),
        pytest.param(["a/*"], [], ["a/"], ["a/b", "a/bc"], id="a segment"),
        pytest.param(["b/**"], [], ["b/"], ["b/ÿ", "b/\U0010ffff"], id="names at the end of a range"),
        pytest.param(["*/a"], [], [""], ["c/a"], id="a wildcard in first place"),
        pytest.param(["**"], [], [""], TOPICS, id="all"),
        pytest.param([], [""], [""], TOPICS, id="the empty prefix"),
        pytest.param([], ["a/b"], ["a/b"], ["a/b", "a/b/c", "a/bc"], id="a prefix"),
        pytest.param(["a/b/c"], ["a/b", "a"], ["a"], TOPICS[:5], id="one within another"),
        pytest.param(["c/a", "a"], ["b/"], ["a", "b/", "c/a"], ["a", *TOPICS[6:9]], id="several"),
        pytest.param(["none", "none/**"], [], ["none"], [], id="what is not there"),
    ],
)
def test_what_is_chosen_stands_where_it_is_looked_for(
    patterns: list[str], prefixes: list[str], starts: list[str], chosen: list[str]
) -> None:
    index = Index()
    for number, topic in enumerate(TOPICS, 1):
        index.add_tail(Tail(number, topic.encode(), 0, 1, 1.0))
    select = Selector(patterns, prefixes)
    assert [start.decode() for start in select.starts] == starts
    wanted = sorted(topic.encode() for topic in chosen)
    assert [name for name in index.names_from(select.starts) if select.matches(name)] == wanted
    assert [name for name in index.names if select.matches(name)] == wanted


@pytest.mark.parametrize("pattern", ["**", "*/x"])
def test_a_wildcard_in_first_place_chooses_no_topic_of_the_system(pattern: str) -> None:
    assert not Selector([pattern]).matches(b"$broker/x")
    assert Selector([pattern]).matches(b"broker/x")
