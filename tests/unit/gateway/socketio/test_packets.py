"""Socket.IO packets: what is read of a client, what is refused, and what python-socketio makes of ours."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
import socketio.packet
from hypothesis import given
from hypothesis import strategies as st

from gateway.forms import MAX_JSON_DEPTH
from gateway.socketio.errors import BadPacket, ReservedEvent
from gateway.socketio.packets import (
    MAX_ATTACHMENTS,
    MAX_ID_DIGITS,
    MAX_NAMESPACE_CHARS,
    RESERVED,
    Ack,
    Connect,
    Decoder,
    Disconnect,
    Event,
    Packet,
    ack,
    connect,
    connect_error,
    disconnect,
    event,
)

HALF = "\ud800"  # of a surrogate pair
MAX_BYTES = 1 << 20
LONGEST = "/" + "n" * (MAX_NAMESPACE_CHARS - 1)


def fed(parts: list[str | bytes]) -> Packet | None:
    """What a decoder makes of them; it waits until the last."""
    decoder = Decoder(MAX_BYTES)
    packet: Packet | None = None
    for part in parts:
        assert packet is None
        packet = decoder.feed_text(part) if isinstance(part, str) else decoder.feed_binary(part)
        assert decoder.is_waiting == (packet is None)
    return packet


def hole(number: int | str) -> str:
    """A placeholder; what is no number, as JSON."""
    return f'{{"_placeholder":true,"num":{number}}}'


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        pytest.param("0", Connect("/"), id="connect"),
        pytest.param("0{}", Connect("/", {}), id="connect with nothing"),
        pytest.param('0{"token":"123"}', Connect("/", {"token": "123"}), id="connect with data"),
        pytest.param("0/custom", Connect("/custom"), id="connect elsewhere, no comma"),
        pytest.param("0/custom,", Connect("/custom"), id="connect elsewhere"),
        pytest.param('0/custom,{"a":1}', Connect("/custom", {"a": 1}), id="connect elsewhere with data"),
        pytest.param("0/,{}", Connect("/", {}), id="the main namespace by its name"),
        pytest.param("0/日本?a=1,", Connect("/日本?a=1"), id="any characters in a namespace"),
        pytest.param(f"0{LONGEST},", Connect(LONGEST), id="the longest namespace"),
        pytest.param("1", Disconnect("/"), id="disconnect"),
        pytest.param("1/custom,", Disconnect("/custom"), id="disconnect elsewhere"),
        pytest.param('2["a"]', Event("/", None, "a", []), id="event"),
        pytest.param('2["a",1,{"b":[]}]', Event("/", None, "a", [1, {"b": []}]), id="event with arguments"),
        pytest.param('2["",null]', Event("/", None, "", [None]), id="event without a name's letters"),
        pytest.param('2/custom,["a"]', Event("/custom", None, "a", []), id="event elsewhere"),
        pytest.param('20["a"]', Event("/", 0, "a", []), id="event to be acknowledged"),
        pytest.param('2/custom,12["a"]', Event("/custom", 12, "a", []), id="event elsewhere, acknowledged"),
        pytest.param("2" + "9" * MAX_ID_DIGITS + '["a"]', Event("/", 10**MAX_ID_DIGITS - 1, "a", []),
                     id="the largest id"),
        pytest.param('2007["a"]', Event("/", 7, "a", []), id="an id with zeros before it"),
        pytest.param('2 [ "a" ]\n', Event("/", None, "a", []), id="white space in JSON"),
        pytest.param('2["\\u00fcü日"]', Event("/", None, "üü日", []), id="escaped or not"),
        pytest.param(f'2["a",{hole(0)}]', Event("/", None, "a", [{"_placeholder": True, "num": 0}]),
                     id="no placeholder where no attachment is"),
        pytest.param(f'2["a",{nested(MAX_JSON_DEPTH - 1)}]',
                     Event("/", None, "a", [msgspec.json.decode(nested(MAX_JSON_DEPTH - 1))]), id="deep"),
        pytest.param('2["a","%s"]' % ("[" * 100_000), Event("/", None, "a", ["[" * 100_000]),
                     id="brackets in a text"),
        pytest.param('2["a",18446744073709551615,-9223372036854775808]',
                     Event("/", None, "a", [(1 << 64) - 1, -(1 << 63)]), id="integers of 64 bits"),
        pytest.param('2["a",18446744073709551616,{"b":[-9223372036854775809]}]',
                     Event("/", None, "a", [2.0**64, {"b": [-(2.0**63)]}]), id="larger ones, as floats"),
        pytest.param('2["a","18446744073709551616"]', Event("/", None, "a", ["18446744073709551616"]),
                     id="digits in a text"),
        pytest.param("31[]", Ack("/", 1, []), id="acknowledgement"),
        pytest.param('3/custom,0["a",1]', Ack("/custom", 0, ["a", 1]), id="acknowledgement elsewhere"),
        pytest.param('31["connect"]', Ack("/", 1, ["connect"]), id="no name in an acknowledgement"),
    ],
)  # fmt: skip
def test_a_text_is_a_packet(text: str, packet: Packet) -> None:
    made = fed([text])
    assert made == packet
    if isinstance(made, Event | Ack):  # 1 == 1.0 == True
        assert repr(made) == repr(packet)


@pytest.mark.parametrize(
    ("parts", "packet"),
    [
        pytest.param([f'51-["x",{hole(0)}]', b"\x01"], Event("/", None, "x", [b"\x01"]), id="event"),
        pytest.param([f'51-/custom,7["x",{hole(0)}]', b""], Event("/custom", 7, "x", [b""]), id="all of it"),
        pytest.param([f'52-["x",{{"a":[{hole(1)}]}},{hole(0)}]', b"0", b"1"],
                     Event("/", None, "x", [{"a": [b"1"]}, b"0"]), id="in another order"),
        pytest.param([f'61-1[{hole(0)}]', b"a"], Ack("/", 1, [b"a"]), id="acknowledgement"),
        pytest.param(['51-["x",{"num":0,"_placeholder":true,"a":[1]}]', b"a"], Event("/", None, "x", [b"a"]),
                     id="a placeholder with more in it"),
        pytest.param([f'51-["x",{{"_placeholder":1,"num":0}},{hole(0)}]', b"a"],
                     Event("/", None, "x", [{"_placeholder": 1, "num": 0}, b"a"]), id="one that is none"),
        pytest.param([f'501-["x",{hole(0)}]', b"a"], Event("/", None, "x", [b"a"]), id="a zero before"),
        pytest.param([f'510-["x",{",".join(map(hole, range(10)))}]', *(b"%d" % n for n in range(10))],
                     Event("/", None, "x", [b"%d" % n for n in range(10)]), id="as many as may be"),
    ],
)  # fmt: skip
def test_attachments_stand_where_they_belong(parts: list[str | bytes], packet: Packet) -> None:
    assert fed(parts) == packet


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("", "an empty packet", id="empty"),
        pytest.param("7", "type", id="unknown type"),
        pytest.param("b", "type", id="a letter"),
        pytest.param('\u0662["a"]', "type", id="a digit of another script"),
        pytest.param(HALF, "type", id="half a pair as type"),
        pytest.param('4{"message":"a"}', "CONNECT_ERROR", id="CONNECT_ERROR"),
        pytest.param("4", "CONNECT_ERROR", id="CONNECT_ERROR with nothing"),
        # Attachments
        pytest.param('5["a"]', "how many", id="not declared"),
        pytest.param('5-["a"]', "how many", id="declared as nothing"),
        pytest.param('5x-["a"]', "how many", id="declared as a letter"),
        pytest.param('5-1-["a"]', "how many", id="declared as negative"),
        pytest.param('51.0-["a"]', "how many", id="declared as a fraction"),
        pytest.param('5\u0661-["a"]', "how many", id="declared in another script"),
        pytest.param("51", "how many", id="no dash"),
        pytest.param("5" + "1" * 400_000 + '-["a"]', "how many", id="declared in 400,000 digits"),
        pytest.param('50-["a"]', "without", id="none declared"),
        pytest.param(f'5{MAX_ATTACHMENTS + 1}-["a"]', "at most 10", id="one too many"),
        pytest.param('5500000-["a"]', "at most 10", id="500,000 declared"),
        pytest.param('6500000-1["a"]', "at most 10", id="500,000 declared in an acknowledgement"),
        pytest.param('21-["a"]', "not JSON", id="declared in an event that is not binary"),
        # Placeholders
        pytest.param('51-["a"]', "1 attachments, but 0", id="no placeholder"),
        pytest.param(f'52-["a",{hole(0)}]', "2 attachments, but 1", id="one too few"),
        pytest.param(f'51-["a",{hole(0)},{hole(0)}]', "two placeholders", id="used twice"),
        pytest.param(f'51-["a",{hole(1)}]', "a placeholder has", id="beyond the last"),
        pytest.param(f'51-["a",{hole(-1)}]', "a placeholder has", id="before the first"),
        pytest.param('51-["a",' + hole("0.0") + "]", "a placeholder has", id="a fraction"),
        pytest.param(f'52-["a",{hole(0)},{hole("true")}]', "a placeholder has", id="a truth"),
        pytest.param('51-["a",' + hole('"0"') + "]", "a placeholder has", id="a text"),
        pytest.param('51-["a",' + hole("9" * 400) + "]", "int|out of range", id="of 400 digits"),
        pytest.param('51-["a",{"_placeholder":true}]', "a placeholder has", id="no number"),
        pytest.param(f'51-{{"a":{hole(0)}}}', "want an array", id="in an object"),
        pytest.param("51-" + hole(0), "want an array", id="alone"),
        # Namespaces and ids
        pytest.param("0" + LONGEST + "n", "namespace", id="namespace too long"),
        pytest.param("0" + LONGEST + "n,{}", "namespace", id="namespace too long, with a comma"),
        pytest.param("0/" + "n" * 400_000, "namespace", id="namespace of 400,000"),
        pytest.param(f"0/{HALF}", "surrogate", id="half a pair in a namespace"),
        pytest.param(f'2["{HALF}"]', "surrogate", id="half a pair in JSON"),
        pytest.param('2,["a"]', "not JSON", id="a comma without a namespace"),
        pytest.param('2custom,["a"]', "not JSON", id="a namespace without its slash"),
        pytest.param("2" + "1" * (MAX_ID_DIGITS + 1) + '["a"]', "an id has", id="id too long"),
        pytest.param("2" + "1" * 400_000 + '["a"]', "an id has", id="id of 400,000 digits"),
        pytest.param('2-1["a"]', "not JSON", id="negative id"),
        pytest.param('2\u0661["a"]', "not JSON", id="id in another script"),
        pytest.param('2²["a"]', "not JSON", id="a raised digit"),
        pytest.param('21x["a"]', "not JSON", id="id with a letter"),
        pytest.param("01", "CONNECT has no id", id="connect with an id"),
        pytest.param("11", "DISCONNECT has no id", id="disconnect with an id"),
        # Payloads
        pytest.param("2[", "not JSON", id="half an array"),
        pytest.param('2["a"] x', "not JSON", id="more behind it"),
        pytest.param('2["a",NaN]', "not JSON", id="NaN"),
        pytest.param('2["a",]', "not JSON", id="a comma too many"),
        pytest.param('2["\\ud800"]', "not JSON", id="half a pair, escaped"),
        pytest.param(f'2["a",{nested(MAX_JSON_DEPTH)}]', "deeper than 64", id="one level too deep"),
        pytest.param(f'2["a",{nested(100_000)}]', "deeper than 64", id="100,000 levels"),
        pytest.param("2" + "[" * 100_000, "deeper than 64", id="100,000 brackets"),
        pytest.param("0" + '{"a":' * 100_000, "deeper than 64", id="100,000 braces"),
        pytest.param('2["a",%s]' % ("9" * 400_000), "out of range", id="an integer of 400,000 digits"),
        pytest.param('2["a",[{"b":%s}]]' % ("9" * 400), "int", id="an integer beyond floats"),
        pytest.param('0{"a":-%s}' % ("9" * 400), "int", id="an integer beyond floats, in connect"),
        pytest.param('2["a",1e400]', "out of range", id="a float beyond floats"),
        pytest.param("2", "not JSON", id="event with nothing"),
        pytest.param("2[]", "begins with its name", id="event of nothing"),
        pytest.param("2[1]", "begins with its name", id="a number for a name"),
        pytest.param('2[["a"]]', "begins with its name", id="an array for a name"),
        pytest.param('2{"a":1}', "want an array", id="event of an object"),
        pytest.param('2"a"', "want an array", id="event of a text"),
        pytest.param("0[]", "want an object", id="connect with an array"),
        pytest.param("0null", "want an object", id="connect with null"),
        pytest.param('0"a"', "want an object", id="connect with a text"),
        pytest.param("1{}", "no payload", id="disconnect with an object"),
        pytest.param("1 ", "no payload", id="disconnect with a space"),
        pytest.param("31", "not JSON", id="acknowledgement with nothing"),
        pytest.param('31{"a":1}', "want an array", id="acknowledgement of an object"),
        pytest.param('3["a"]', "has an id", id="acknowledgement of what"),
    ],
)  # fmt: skip
def test_what_a_client_may_not_send_is_refused(text: str, names: str) -> None:
    decoder = Decoder(MAX_BYTES)
    with pytest.raises(BadPacket, match=names) as refused:
        decoder.feed_text(text)
        while decoder.is_waiting:  # it is read when all of it is there
            decoder.feed_binary(b"")
    assert not isinstance(refused.value, ReservedEvent)
    refused.value.reason.encode()  # can be sent and logged
    assert len(refused.value.reason) < 200
    assert not decoder.is_waiting


def test_nothing_comes_between_a_packet_and_its_attachments() -> None:
    decoder = Decoder(MAX_BYTES)
    assert decoder.feed_text(f'52-["a",{hole(0)},{hole(1)}]') is None
    assert decoder.feed_binary(b"0") is None
    with pytest.raises(BadPacket, match="text where"):
        decoder.feed_text('2["b"]')


def test_no_attachment_comes_by_itself() -> None:
    decoder = Decoder(MAX_BYTES)
    with pytest.raises(BadPacket, match="binary where"):
        decoder.feed_binary(b"0")
    assert fed([f'51-["a",{hole(0)}]', b"0"])


def test_no_attachment_comes_after_the_last() -> None:
    decoder = Decoder(MAX_BYTES)
    assert decoder.feed_text(f'51-["a",{hole(0)}]') is None
    assert decoder.feed_binary(b"0") == Event("/", None, "a", [b"0"])
    with pytest.raises(BadPacket, match="binary where"):
        decoder.feed_binary(b"1")


@pytest.mark.parametrize("begins", [hole(0), "1"], ids=["an attachment", "a number"])
def test_the_name_of_a_binary_event_is_a_text(begins: str) -> None:
    decoder = Decoder(MAX_BYTES)
    rest = "" if begins == hole(0) else "," + hole(0)
    assert decoder.feed_text(f"51-[{begins}{rest}]") is None
    with pytest.raises(BadPacket, match="begins with its name"):
        decoder.feed_binary(b"connect")


def test_a_packet_is_limited_with_all_its_attachments() -> None:
    payload = f'["a",{hole(0)},{hole(1)}]'
    for sizes in ((5, 0), (2, 3), (0, 5)):
        decoder = Decoder(len(payload) + 5)
        assert decoder.feed_text(f"52-/custom,7{payload}") is None
        assert [decoder.feed_binary(bytes(size)) is None for size in sizes] == [True, False]
    for sizes in ((6, 0), (2, 4), (0, 6)):
        decoder = Decoder(len(payload) + 5)
        assert decoder.feed_text(f"52-/custom,7{payload}") is None
        with pytest.raises(BadPacket, match="bytes with its attachments"):
            for size in sizes:
                decoder.feed_binary(bytes(size))


def test_what_waits_for_attachments_is_kept_as_it_came() -> None:
    """Read, each of these is a list of 56 bytes, and its place in one."""
    text = f'51-["a",{"[]," * 20_000}{hole(0)}]'
    tracemalloc.start()
    try:
        decoder = Decoder(MAX_BYTES)
        assert decoder.feed_text(text) is None
        assert tracemalloc.get_traced_memory()[0] < 2 * len(text)
        assert decoder.feed_binary(b"1") is not None
    finally:
        tracemalloc.stop()


# Reserved events


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_reserved_event_says_what_is_to_be_answered(name: str) -> None:
    decoder = Decoder(MAX_BYTES)
    with pytest.raises(ReservedEvent) as refused:
        decoder.feed_text(f'2/custom,5["{name}",1]')
    assert (refused.value.name, refused.value.namespace, refused.value.id) == (name, "/custom", 5)
    assert decoder.feed_text('2["a"]') == Event("/", None, "a", [])  # the client stays


def test_a_reserved_event_s_attachments_are_taken_first() -> None:
    decoder = Decoder(MAX_BYTES)
    assert decoder.feed_text(f'51-["disconnect",{hole(0)}]') is None
    with pytest.raises(ReservedEvent) as refused:
        decoder.feed_binary(b"0")
    assert (refused.value.name, refused.value.namespace, refused.value.id) == ("disconnect", "/", None)
    assert not decoder.is_waiting


@pytest.mark.parametrize("name", ["Connect", "connect ", "connecting", "message", "error"])
def test_names_that_are_free(name: str) -> None:
    assert fed([f'2["{name}"]']) == Event("/", None, name, [])


# What the server sends


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        pytest.param(connect("/", {"sid": "a"}), '0{"sid":"a"}', id="connect"),
        pytest.param(connect("/custom", {"sid": "a"}), '0/custom,{"sid":"a"}', id="connect elsewhere"),
        pytest.param(connect_error("/random", {"message": "Invalid namespace"}),
                     '4/random,{"message":"Invalid namespace"}', id="connect error"),
        pytest.param(disconnect("/"), "1", id="disconnect"),
        pytest.param(disconnect("/custom"), "1/custom,", id="disconnect elsewhere"),
    ],
)  # fmt: skip
def test_texts_of_the_server(text: str, meant: str) -> None:
    assert text == meant


@pytest.mark.parametrize(
    ("parts", "meant"),
    [
        pytest.param(event("/", "a", []), ['2["a"]'], id="event"),
        pytest.param(event("/", "a", [1, {"b": [None, "ü"]}]), ['2["a",1,{"b":[null,"ü"]}]'], id="arguments"),
        pytest.param(event("/custom", "a", [], 0), ['2/custom,0["a"]'], id="elsewhere, to be acknowledged"),
        pytest.param(event("/", "a", [msgspec.Raw(b'{"b": 1.50}')]), ['2["a",{"b": 1.50}]'],
                     id="JSON as it is"),
        pytest.param(event("/", "x", [b"\x01"]), ['51-["x",{"_placeholder":true,"num":0}]', b"\x01"],
                     id="an attachment"),
        pytest.param(event("/custom", "x", [{"a": [b"0"], "b": b"1"}], 7),
                     ['52-/custom,7["x",{"a":[{"_placeholder":true,"num":0}],"b":{"_placeholder":true,"num":1}}]',
                      b"0", b"1"], id="attachments"),
        pytest.param(ack("/", 0, []), ["30[]"], id="acknowledgement"),
        pytest.param(ack("/custom", 12, ["a"]), ['3/custom,12["a"]'], id="acknowledgement elsewhere"),
        pytest.param(ack("/", 1, [b"0"]), ['61-1[{"_placeholder":true,"num":0}]', b"0"],
                     id="with an attachment"),
    ],
)  # fmt: skip
def test_events_and_acknowledgements_of_the_server(
    parts: list[str | bytes], meant: list[str | bytes]
) -> None:
    assert parts == meant


# Beside python-socketio

CHARACTERS = st.characters(exclude_categories=["Cs"])
KEYS = st.text(CHARACTERS).filter(lambda key: key != "_placeholder")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS)
)
WITHOUT_BYTES = st.recursive(LEAVES, lambda each: st.lists(each) | st.dictionaries(KEYS, each), max_leaves=8)
VALUES = st.recursive(
    LEAVES | st.binary(), lambda each: st.lists(each) | st.dictionaries(KEYS, each), max_leaves=8
)
ARGS = st.lists(VALUES, max_size=4)
# Theirs cuts a namespace off at a question mark.
NAMESPACES = st.just("/") | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=",?"), max_size=20
).map(lambda name: "/" + name)
NAMES = st.text(CHARACTERS).filter(lambda name: name not in RESERVED)
IDS = st.integers(0, 10**MAX_ID_DIGITS - 1)
EVENTS = st.builds(Event, NAMESPACES, st.none() | IDS, NAMES, ARGS)
ACKS = st.builds(Ack, NAMESPACES, IDS, ARGS)
CONNECTS = st.builds(Connect, NAMESPACES, st.none() | st.dictionaries(KEYS, WITHOUT_BYTES))
DISCONNECTS = st.builds(Disconnect, NAMESPACES)


def written(packet: Packet) -> list[str | bytes]:
    """By the official client."""
    match packet:
        case Connect(namespace, data):
            made = socketio.packet.Packet(socketio.packet.CONNECT, data, namespace, binary=False)
        case Disconnect(namespace):
            made = socketio.packet.Packet(socketio.packet.DISCONNECT, None, namespace)
        case Event(namespace, id, name, args):
            made = socketio.packet.Packet(socketio.packet.EVENT, [name, *args], namespace, id)
        case Ack(namespace, id, args):
            made = socketio.packet.Packet(socketio.packet.ACK, args, namespace, id)
    encoded = made.encode()
    return encoded if isinstance(encoded, list) else [encoded]


def attachments(value: Any) -> int:
    if isinstance(value, list | dict):
        return sum(map(attachments, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bytes)


@given(EVENTS | ACKS | CONNECTS | DISCONNECTS)
def test_what_the_official_client_writes_is_read(packet: Packet) -> None:
    parts = written(packet)
    if len(parts) > 1 + MAX_ATTACHMENTS:
        with pytest.raises(BadPacket, match="at most 10"):
            fed(parts)
    else:
        assert fed(parts) == packet


@given(EVENTS | ACKS)
def test_what_is_written_the_official_client_reads(packet: Event | Ack) -> None:
    if isinstance(packet, Event):
        parts = event(packet.namespace, packet.name, packet.args, packet.id)
        data = [packet.name, *packet.args]
        kinds = (socketio.packet.EVENT, socketio.packet.BINARY_EVENT)
    else:
        parts, data = ack(packet.namespace, packet.id, packet.args), packet.args
        kinds = (socketio.packet.ACK, socketio.packet.BINARY_ACK)
    read = socketio.packet.Packet(encoded_packet=parts[0])
    for part in parts[1:]:
        read.add_attachment(part)
    assert len(parts) - 1 == attachments(data)
    assert (read.packet_type, read.namespace or "/", read.id) == (
        kinds[len(parts) > 1], packet.namespace, packet.id,
    )  # fmt: skip
    assert read.data == data


@given(CONNECTS)
def test_an_answer_to_connect_is_read(packet: Connect) -> None:
    for write, kind in (
        (connect, socketio.packet.CONNECT),
        (connect_error, socketio.packet.CONNECT_ERROR),
    ):
        read = socketio.packet.Packet(encoded_packet=write(packet.namespace, packet.data or {}))
        assert (read.packet_type, read.namespace or "/", read.data) == (
            kind, packet.namespace, packet.data or {},
        )  # fmt: skip


# Texts that look like packets, so that they get past the first checks.
LIKELY = st.lists(
    st.sampled_from(
        ["0", "1", "2", "3", "5", "6", "51-", "62-", "10-", "-", "/", "/a", ",", "[", "]", "{", "}", '"a"',
         '"connect"', ":", ",", "1e999", "9" * 20, "9" * 400, hole(0), hole(1), hole('"0"'), "null", "true",
         "\\", '"', "\\ud800", HALF, "\u0661", "²", "\x1e", "\n"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(st.lists(st.text() | LIKELY | st.binary(max_size=8), max_size=6))
def test_whatever_comes_is_read_or_refused(parts: list[str | bytes]) -> None:
    decoder = Decoder(MAX_BYTES)
    for part in parts:
        try:
            packet = decoder.feed_text(part) if isinstance(part, str) else decoder.feed_binary(part)
        except BadPacket as error:
            error.reason.encode()
            continue
        assert decoder.is_waiting == (packet is None)
        if isinstance(packet, Event):
            assert packet.name not in RESERVED
