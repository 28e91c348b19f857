"""What a browser gets of an event: every JSON parser takes it, and one line of it is one object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gap import Gap
from broker.wire import Content
from gateway.forms import FRAME_BYTES, NATIVE, RAW, cut, gap_object, is_json, native, raw, tagged
from gateway.frames import binary_frame, text_frame
from tests.support.events import OTHER_EPOCH, event, position


def told(payload: bytes, content: Content = Content.UNKNOWN) -> dict[str, Any]:
    """What a browser reads of a payload."""
    object_ = native(event("a", 1, payload=payload, content=content))
    assert b"\n" not in object_ and b"\r" not in object_
    fields: dict[str, Any] = json.loads(object_)
    return {name: fields[name] for name in ("data", "text", "base64") if name in fields}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_the_fields_of_an_event() -> None:
    made = event("cpu/load", 1234, 1229, nth=88, payload=b'{"v": 0.42}')
    assert native(made) == (
        b'{"topic":"cpu/load","seq":1234,"prev":1229,"nth":88,"time":1790000000.000007,"data":{"v": 0.42}}'
    )


def test_a_topic_is_quoted() -> None:
    assert json.loads(native(event('a"\\ü', 1)))["topic"] == 'a"\\ü'


@pytest.mark.parametrize(
    ("payload", "content", "shown"),
    [
        pytest.param(b'{"a": [1, true]}', Content.UNKNOWN, {"data": {"a": [1, True]}}, id="json, guessed"),
        pytest.param(b'{"a": 1}', Content.JSON, {"data": {"a": 1}}, id="json, said"),
        pytest.param(b"4.25", Content.UNKNOWN, {"data": 4.25}, id="a number is json"),
        pytest.param(b"null", Content.UNKNOWN, {"data": None}, id="null is json"),
        pytest.param(b'"x"', Content.UNKNOWN, {"data": "x"}, id="a string is json"),
        pytest.param(b"window open", Content.UNKNOWN, {"text": "window open"}, id="text, guessed"),
        pytest.param(b"4.25", Content.TEXT, {"text": "4.25"}, id="text, said, though it would be json"),
        pytest.param("日本".encode(), Content.UNKNOWN, {"text": "日本"}, id="text beyond ascii"),
        pytest.param(b"", Content.UNKNOWN, {"text": ""}, id="nothing is the empty text"),
        pytest.param(b"a\r\nb", Content.UNKNOWN, {"text": "a\r\nb"}, id="line ends of a text are escaped"),
        pytest.param(b'{"a":', Content.JSON, {"text": '{"a":'}, id="said to be json, but half of it"),
        pytest.param(b"\xff\xfe", Content.UNKNOWN, {"base64": "//4="}, id="bytes, guessed"),
        pytest.param(b"{}", Content.BINARY, {"base64": "e30="}, id="bytes, said, though they would be json"),
        pytest.param(b"\xff", Content.TEXT, {"base64": "/w=="}, id="said to be text, but not utf-8"),
        pytest.param(b"\xff", Content.JSON, {"base64": "/w=="}, id="said to be json, but not utf-8"),
    ],
)
def test_a_payload_goes_as_what_it_is(payload: bytes, content: Content, shown: dict[str, Any]) -> None:
    assert told(payload, content) == shown


def test_line_ends_in_json_become_spaces() -> None:
    pretty = b'{\r\n  "a": [\n    1\n  ]\n}\n'
    assert native(event("a", 1, payload=pretty)).endswith(b'"data":{    "a": [     1   ] } }')
    assert told(pretty) == {"data": {"a": [1]}}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b'{"a": NaN}', id="NaN within"),
        pytest.param(b"[Infinity]", id="Infinity"),
        pytest.param(b"-Infinity", id="minus Infinity"),
        pytest.param(b"[1,]", id="a comma too many"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b"01", id="a leading zero"),
        pytest.param(b"1 2", id="two values"),
        pytest.param(b"{} x", id="something behind"),
        pytest.param(b'"a\nb"', id="a line end in a string"),
        pytest.param(b'"\\x"', id="an escape that is none"),
        pytest.param(b'"\\ud800"', id="half a surrogate pair, escaped"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param(b" ", id="white space alone"),
        pytest.param(nested(65), id="65 deep"),
        pytest.param(nested(2_000), id="deeper than the parser goes"),
        pytest.param(b"[" * 200_000, id="deeper than the parser goes, and never closed"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="65 objects deep"),
    ],
)
def test_what_not_every_parser_takes_goes_as_text(payload: bytes) -> None:
    assert told(payload) == {"text": payload.decode()}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(nested(64), id="64 deep"),
        pytest.param(b"[" + b"[]," * 100 + b"[]]", id="many brackets side by side"),
        pytest.param(b'"' + b"[{" * 100 + b'"', id="brackets in a string"),
        pytest.param(b'["\\"' + b"[" * 100 + b'"]', id="brackets behind an escaped quote"),
        pytest.param(b'["\\\\",' + nested(63) + b"]", id="a string that ends in a backslash"),
        pytest.param('"a\u2028b\u2029c"'.encode(), id="line separators of Unicode"),
        pytest.param(b"1" * 400, id="an integer beyond every float"),
        pytest.param(b"[9007199254740993]", id="an integer beyond 2^53"),
        pytest.param(b' {"a" : 1} ', id="white space around"),
    ],
)
def test_what_every_parser_takes_goes_as_it_is(payload: bytes) -> None:
    assert b'"data":' + payload + b"}" in native(event("a", 1, payload=payload))
    assert told(payload) == {"data": json.loads(payload)}


def test_an_escaped_quote_does_not_hide_depth() -> None:
    assert is_json(b'["\\\\",' + nested(63) + b"]")
    assert not is_json(b'["\\\\",' + nested(64) + b"]")


@given(st.one_of(st.binary(max_size=20), st.text(max_size=20).map(str.encode)))
def test_any_payload_makes_one_line_of_sound_json(payload: bytes) -> None:
    for content in Content:
        assert len(told(payload, content)) == 1


def test_bad_utf8_within_json_is_not_json() -> None:
    assert told(b'{"a": "\xff"}') == {"base64": "eyJhIjogIv8ifQ=="}


def test_an_event_is_encoded_once() -> None:
    made = event("a", 1)
    assert native(made) is native(made)
    assert raw(made) is raw(made)


def test_a_tagged_event_is_addressed_to_its_subscription() -> None:
    made = event("a", 5, 3)
    assert json.loads(tagged(made, 7)) == {"history": 7, **json.loads(native(made))}


@pytest.mark.parametrize(
    ("payload", "content", "frame"),
    [
        pytest.param(b"{}\n", Content.UNKNOWN, text_frame(b"{}\n"), id="utf-8 is text, as it is"),
        pytest.param("ü".encode(), Content.TEXT, text_frame("ü".encode()), id="said to be text"),
        pytest.param(b"\xff", Content.UNKNOWN, binary_frame(b"\xff"), id="not utf-8"),
        pytest.param(b"\xff", Content.TEXT, binary_frame(b"\xff"), id="said to be text, but not utf-8"),
        pytest.param(b"x", Content.BINARY, binary_frame(b"x"), id="said to be binary"),
        pytest.param(b"", Content.UNKNOWN, text_frame(b""), id="nothing"),
    ],
)
def test_a_raw_frame_is_the_payload(payload: bytes, content: Content, frame: bytes) -> None:
    assert raw(event("a", 1, payload=payload, content=content)) == frame


@pytest.mark.parametrize(
    ("gap", "subscription", "shown"),
    [
        pytest.param(
            Gap("a/**", position(3), position(9), "retention", 4),
            None,
            {"gap": {"pattern": "a/**", "after": str(position(3)), "before": str(position(9)), "lost": 4,
                     "cause": "retention"}},
            id="how many is known",
        ),
        pytest.param(
            Gap("**", position(3, OTHER_EPOCH), position(1), "epoch"),
            None,
            {"gap": {"pattern": "**", "after": "000000000000001d.3", "before": str(position(1)),
                     "cause": "epoch"}},
            id="how many is not known, in another epoch",
        ),
        pytest.param(
            Gap("a", position(3), position(9), "late", 0),
            7,
            {"history": 7, "gap": {"pattern": "a", "after": str(position(3)), "before": str(position(9)),
                                   "lost": 0, "cause": "late"}},
            id="addressed to a subscription",
        ),
    ],
)  # fmt: skip
def test_gap_objects(gap: Gap, subscription: int | None, shown: dict[str, Any]) -> None:
    assert json.loads(gap_object(gap, subscription)) == shown


FULL = FRAME_BYTES


@pytest.mark.parametrize(
    ("sizes", "frames"),
    [
        pytest.param([], [], id="nothing, no frame"),
        pytest.param([10], [[10]], id="one"),
        pytest.param([10, 20, 30], [[10, 20, 30]], id="what fits goes together"),
        pytest.param([FULL - 11, 10], [[FULL - 11, 10]], id="full to the last byte"),
        pytest.param([FULL - 10, 10], [[FULL - 10], [10]], id="one byte too many"),
        pytest.param([10, FULL * 3, 10], [[10], [FULL * 3], [10]], id="a larger one goes alone"),
        pytest.param(
            [FULL // 2] * 3, [[FULL // 2], [FULL // 2], [FULL // 2]], id="halves and their line end"
        ),
    ],
)
def test_a_flush_is_cut_at_a_frames_size(sizes: list[int], frames: list[list[int]]) -> None:
    objects = [b"x" * size for size in sizes]
    wanted = [[b"x" * size for size in frame] for frame in frames]
    assert cut(objects) == wanted
    assert NATIVE.finish(objects) == b"".join(text_frame(b"\n".join(frame)) for frame in wanted)


def test_a_flush_of_the_raw_form_is_a_frame_for_each_payload() -> None:
    pending = [RAW.encode(event("a", seq, payload=b"%d" % seq)) for seq in (1, 2)]
    assert RAW.finish(pending) == text_frame(b"1") + text_frame(b"2")
    assert RAW.gap is None  # it has no place for anything but payloads
