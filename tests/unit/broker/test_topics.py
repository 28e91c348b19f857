"""Names of events, and patterns that choose them."""

from __future__ import annotations

import pytest

from broker.errors import BadPattern, BadTopic
from broker.selector import Selector
from broker.topics import check_topic, is_system, pattern


@pytest.mark.parametrize("name", ["a", "cpu/load", "ü/日本", "x" * 255, "a.b/..c", "$broker/beat", "-/_:"])
def test_sound_topics(name: str) -> None:
    assert check_topic(name) == name
    assert check_topic(name.encode()) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a//b", "empty segment"),
        ("a/./b", "segment '.'"),
        ("a/..", "segment '..'"),
        ("a b", "white space"),
        ("a\u2003b", "white space"),
        ("a\x00b", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "white space"),
        ("a/*", "belongs to patterns"),
        ("x" * 256, "256 bytes"),
        ("日" * 86, "258 bytes"),
        ("\ud800", "not UTF-8"),
        (b"\xc3\x28", "not UTF-8"),
    ],
)
def test_unsound_topics_say_why(name: str | bytes, why: str) -> None:
    with pytest.raises(BadTopic, match=why):
        check_topic(name)


def test_system_topics() -> None:
    assert is_system("$broker/beat")
    assert not is_system("a/$b")


@pytest.mark.parametrize(
    ("text", "matching", "others", "prefix"),
    [
        ("price/1", ["price/1"], ["price/10", "price", "price/1/2"], "price/1"),
        ("price/*", ["price/1", "price/ü"], ["price", "price/1/2", "prices/1"], "price/"),
        ("price/**", ["price/1", "price/1/2"], ["price", "prices/1"], "price/"),
        ("*", ["a", "ü"], ["a/b", "$a"], ""),
        ("**", ["a", "a/b/c"], ["$a", "$a/b"], ""),
        ("*/load", ["cpu/load"], ["load", "$cpu/load", "a/b/load"], ""),
        ("a/*/c", ["a/b/c", "a/$b/c"], ["a/c", "a/b/b/c"], "a/"),
        ("a/*/**", ["a/b/c", "a/b/c/d"], ["a/b", "a"], "a/"),
        ("$broker/*", ["$broker/beat"], ["broker/beat"], "$broker/"),
        ("a.b/*", ["a.b/c"], ["axb/c"], "a.b/"),
    ],
)
def test_patterns(text: str, matching: list[str], others: list[str], prefix: str) -> None:
    made = pattern(text)
    assert [made.matches(topic) for topic in matching] == [True] * len(matching)
    assert [made.matches(topic) for topic in others] == [False] * len(others)
    assert made.prefix == prefix
    assert made == pattern(text) and hash(made) == hash(pattern(text))
    select = Selector([text])
    assert all(select.matches(topic.encode()) for topic in matching)
    assert not any(select.matches(topic.encode()) for topic in others)


@pytest.mark.parametrize("text", ["", "a*", "**/a", "a/**/b", "a//*", "***", "a b/*"])
def test_unsound_patterns(text: str) -> None:
    with pytest.raises(BadPattern):
        pattern(text)
