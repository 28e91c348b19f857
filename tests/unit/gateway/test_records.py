"""The events of an answer: found, cut and made into objects as if each were one of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import MalformedFrames
from broker.wire import Content, pack_records, pack_stamp
from gateway import forms
from gateway.records import Records
from tests.support.events import event, records

SEQS = [11, 12, 15, 19]
FOUR = [event("a", seq, seq - 1, payload=b"x" * 10) for seq in SEQS]
STAMP = pack_stamp(0, 1, 1, 7, 0, 9)
DEEP = b"[" * 65 + b"]" * 65

payloads = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b'{"v":1}', b'{"v":\r\n1}', b"NaN", b"", DEEP, DEEP[1:-1], b"[]" * 64, b"\xff"]),
    st.integers(60, 200).map(lambda size: b'"%b"' % (b"x" * size)),
)


def seqs(found: Records) -> list[int]:
    return [each.seq for each in found]


def test_they_are_events() -> None:
    found = records(FOUR)
    assert list(map(repr, found)) == list(map(repr, FOUR))
    assert (len(found), found[-1].seq, found.seq(2)) == (4, 19, 15)
    assert found[1] is found[1]


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        pytest.param(0, 4, SEQS, id="all"),
        pytest.param(1, 3, [12, 15], id="some"),
        pytest.param(2, 2, [], id="none"),
        pytest.param(3, 1, [], id="an end before the begin"),
        pytest.param(2, 99, [15, 19], id="more than there are"),
    ],
)
def test_a_part_has_its_own_and_shares_them(start: int, stop: int, expected: list[int]) -> None:
    whole = records(FOUR)
    part = whole[start:stop]
    assert (seqs(part), len(part)) == (expected, len(expected))
    assert all(each in list(whole) for each in part)
    if expected:
        assert seqs(part[1:]) == expected[1:]
        assert part.seq(0) == expected[0]


@pytest.mark.parametrize(("seq", "place"), [(0, 0), (11, 1), (13, 2), (19, 4), (99, 4)])
def test_places_are_found_by_seq(seq: int, place: int) -> None:
    whole = records(FOUR)
    assert whole.place_after(seq) == place
    assert whole[1:].place_after(seq) == max(0, place - 1)


@pytest.mark.parametrize(
    ("start", "limit", "max_bytes", "end"),
    [
        pytest.param(0, 9, 1_000, 4, id="all of it"),
        pytest.param(1, 2, 1_000, 3, id="so many"),
        pytest.param(0, 9, 20, 3, id="with the one that brings it beyond"),
        pytest.param(1, 9, 0, 2, id="one at least"),
        pytest.param(3, 9, 5, 4, id="the last"),
    ],
)
def test_a_part_is_bounded(start: int, limit: int, max_bytes: int, end: int) -> None:
    assert records(FOUR).end(start, limit, max_bytes) == end
    assert records([event("a", 1, payload=b"x" * 99), *FOUR])[1:].end(start, limit, max_bytes) == end


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b/ü", 'q"']), payloads, st.sampled_from(Content), st.integers(0, 1 << 50)
        )
    )
)
def test_native_objects_of_many_are_those_of_each(found: list[tuple[str, bytes, Content, int]]) -> None:
    data = pack_records(
        (topic.encode(), pack_stamp(content << 1 | 1, 1 << 40, 7, seq, seq - 1, time_us), payload)
        for seq, (topic, payload, content, time_us) in enumerate(found, 1)
    )
    events = Records(data)
    expected = [forms.native(each) for each in events]
    assert forms.natives(events) == expected
    assert forms.tag(forms.natives(events), 7) == [forms.tagged(each, 7) for each in events]


def test_native_objects_are_made_once_and_only_where_they_are_wanted() -> None:
    whole = records(FOUR)
    some = forms.natives(whole[1:3])
    again = forms.natives(whole[1:3])
    assert all(one is two for one, two in zip(some, again, strict=True))
    assert forms.natives(whole)[1:3] == some == [forms.native(each) for each in FOUR[1:3]]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"records", MalformedFrames, id="no records"),
        pytest.param(pack_records([(b"a", STAMP, b"p")])[:-1], MalformedFrames, id="cut off"),
        pytest.param(pack_records([(b"a", bytes(40), b"p")]), MalformedFrames, id="another version"),
        pytest.param(pack_records([(b"\xff", STAMP, b"p")]), UnicodeDecodeError, id="no topic"),
    ],
)
def test_what_are_no_records_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        Records(data)


def test_more_weigh_more() -> None:
    assert Records().weight == 0
    assert records(FOUR).weight == 4 * records(FOUR[:1]).weight
    assert records([event("a", 1, payload=b"x" * 1_000)]).weight > 3_000


def test_they_are_counted_by_topic_and_span() -> None:
    found = records(
        [event("a", 11), event("b", 12), event("a", 15, 11, nth=2), event("a", 19, 15, nth=3), event("c", 20)]
    )
    spans = {b"a": (11, 2), b"b": (12, 99), b"d": (0, 99)}
    assert found.count_within(spans) == {b"a": 1}
    assert found[:2].count_within({b"a": (0, 99), b"b": (0, 99)}) == {b"a": 1, b"b": 1}


def test_the_newest_of_each_topic() -> None:
    found = records(
        [event("a", 11, nth=4), event("b", 12, nth=9), event("a", 15, nth=5), event("a", 19, nth=6)]
    )
    assert found[:3].newest() == {b"a": (15, 5), b"b": (12, 9)}
