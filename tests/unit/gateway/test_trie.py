"""Patterns by topic and topics by pattern: the same as asking every pattern about every topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.topics import Pattern
from gateway.trie import PatternTrie, TopicTrie

PATTERNS = ["a", "a/b", "a/*", "a/**", "*", "**", "*/b", "*/**", "a/*/c", "$s/**", "$s/*"]

# Few names, so that they meet often.
NAMES = st.sampled_from(["a", "b", "ab", "$s"])
TOPICS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    segments = draw(st.lists(st.one_of(NAMES, st.just("*")), min_size=0, max_size=3))
    return Pattern("/".join([*segments, draw(st.one_of(NAMES, st.sampled_from(["*", "**"])))]))


def filed(texts: list[str]) -> PatternTrie[str]:
    """Each pattern's text filed under it."""
    trie: PatternTrie[str] = PatternTrie()
    for text in texts:
        trie.add(Pattern(text), text)
    return trie


def is_empty(trie: PatternTrie[str]) -> bool:
    return not trie._root.children and not trie._root.values


@pytest.mark.parametrize(
    ("topic", "matching"),
    [
        pytest.param("a", {"a", "*", "**"}, id="one segment"),
        pytest.param("a/b", {"a/b", "a/*", "a/**", "**", "*/b", "*/**"}, id="two segments"),
        pytest.param("a/b/c", {"a/**", "**", "*/**", "a/*/c"}, id="three segments"),
        pytest.param("b", {"*", "**"}, id="only wildcards"),
        pytest.param("ab", {"*", "**"}, id="a name is not its prefix"),
        pytest.param("$s", set(), id="no wildcard in first place finds a system topic"),
        pytest.param("$s/b", {"$s/**", "$s/*"}, id="a system topic by its name"),
        pytest.param("a/$s", {"a/*", "a/**", "**", "*/**"}, id="$ is special in first place only"),
    ],
)
def test_a_topic_finds_its_patterns(topic: str, matching: set[str]) -> None:
    assert set(filed(PATTERNS).match(topic)) == matching


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        pytest.param("a", ["a"], id="itself"),
        pytest.param("a/*", ["a/b", "a/c"], id="one segment more"),
        pytest.param("a/**", ["a/b", "a/b/c", "a/c"], id="any number more"),
        pytest.param("*", ["a", "b"], id="one segment"),
        pytest.param("**", ["a", "a/b", "a/b/c", "a/c", "b"], id="everything but the system's"),
        pytest.param("*/b", ["a/b"], id="first place open"),
        pytest.param("$s/**", ["$s/x"], id="the system's by name"),
        pytest.param("c", [], id="nothing"),
        pytest.param("a/b/c/d", [], id="deeper than any"),
    ],
)
def test_a_pattern_finds_its_topics(text: str, matching: list[str]) -> None:
    trie = TopicTrie()
    for topic in ["a", "a/b", "a/b/c", "a/c", "b", "$s", "$s/x"]:
        trie.add(topic)
    assert sorted(trie.matching(Pattern(text))) == matching


def test_a_value_filed_under_several_patterns_is_found_once() -> None:
    trie: PatternTrie[str] = PatternTrie()
    for text in ["a/b", "a/*", "**"]:
        trie.add(Pattern(text), "one")
    assert list(trie.match("a/b")) == ["one"]


def test_values_under_one_pattern_leave_one_by_one() -> None:
    trie: PatternTrie[str] = PatternTrie()
    trie.add(Pattern("a/*"), "one")
    trie.add(Pattern("a/*"), "two")
    trie.discard(Pattern("a/*"), "one")
    assert list(trie.match("a/b")) == ["two"]


@pytest.mark.parametrize("text", ["a", "a/b", "a/b/c", "a/b/*", "a/**", "b"])
def test_discarding_what_was_not_filed_changes_nothing(text: str) -> None:
    trie = filed(["a/b"])
    trie.discard(Pattern(text), "another")
    assert list(trie.match("a/b")) == ["a/b"]


def test_a_cleared_set_of_topics_is_empty() -> None:
    trie = TopicTrie()
    trie.add("a/b")
    trie.clear()
    assert list(trie.matching(Pattern("**"))) == []


@given(st.lists(patterns(), max_size=8), TOPICS)
def test_match_agrees_with_each_pattern(filed_under: list[Pattern], topic: str) -> None:
    trie = filed([wanted.text for wanted in filed_under])
    assert set(trie.match(topic)) == {wanted.text for wanted in filed_under if wanted.matches(topic)}


@given(st.sets(TOPICS, max_size=10), patterns())
def test_matching_agrees_with_the_pattern(topics: set[str], wanted: Pattern) -> None:
    trie = TopicTrie()
    for topic in topics:
        trie.add(topic)
    assert sorted(trie.matching(wanted)) == sorted(topic for topic in topics if wanted.matches(topic))


@given(st.sets(patterns(), max_size=8), st.data())
def test_discard_leaves_nothing_behind(filed_under: set[Pattern], data: st.DataObject) -> None:
    texts = sorted(wanted.text for wanted in filed_under)
    trie = filed(texts)
    leaving = data.draw(st.permutations(texts))
    while leaving:
        text = leaving.pop()
        trie.discard(Pattern(text), text)
        topic = text.replace("*", "b")
        assert set(trie.match(topic)) == {other for other in leaving if Pattern(other).matches(topic)}
    assert is_empty(trie)
