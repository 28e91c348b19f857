"""Engine.IO packets: what is read of a client, what is refused, and what python-engineio makes of ours."""

from __future__ import annotations

import base64

import engineio.packet
import pytest
from engineio.payload import Payload
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import binary_frame, text_frame
from gateway.socketio.engine_packets import (
    EnginePacket,
    Kind,
    frame_of,
    read_binary,
    read_payload,
    read_text,
    text_of,
)
from gateway.socketio.errors import BadPacket

MOST = 16
HALF = "\ud800"  # of a surrogate pair

# What a packet may hold in a payload: all but the separator.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x1e")
TEXTS = st.builds(EnginePacket, st.sampled_from(Kind), st.text(CHARACTERS))
BINARIES = st.builds(EnginePacket, st.just(Kind.MESSAGE), st.binary())


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        pytest.param('0{"sid":"a"}', EnginePacket(Kind.OPEN, '{"sid":"a"}'), id="open"),
        pytest.param("1", EnginePacket(Kind.CLOSE), id="close"),
        pytest.param("2", EnginePacket(Kind.PING), id="ping"),
        pytest.param("2probe", EnginePacket(Kind.PING, "probe"), id="a probe"),
        pytest.param("3", EnginePacket(Kind.PONG), id="pong"),
        pytest.param("3probe", EnginePacket(Kind.PONG, "probe"), id="a probe's answer"),
        pytest.param('42["a"]', EnginePacket(Kind.MESSAGE, '2["a"]'), id="message"),
        pytest.param("4", EnginePacket(Kind.MESSAGE), id="a message of nothing"),
        pytest.param("4ü\n\x00日", EnginePacket(Kind.MESSAGE, "ü\n\x00日"), id="any characters"),
        pytest.param("4b", EnginePacket(Kind.MESSAGE, "b"), id="a letter b"),
        pytest.param('4"1"', EnginePacket(Kind.MESSAGE, '"1"'), id="JSON, left as it is"),
        pytest.param("5", EnginePacket(Kind.UPGRADE), id="upgrade"),
        pytest.param("6", EnginePacket(Kind.NOOP), id="noop"),
        pytest.param("bAQIDBA==", EnginePacket(Kind.MESSAGE, b"\x01\x02\x03\x04"), id="base64"),
        pytest.param("b", EnginePacket(Kind.MESSAGE, b""), id="base64 of nothing"),
    ],
)
def test_a_text_is_a_packet(text: str, packet: EnginePacket) -> None:
    assert read_text(text) == packet
    assert read_payload(text, MOST) == [packet]


BAD_TEXTS = [
    pytest.param("", "an empty packet", id="empty"),
    pytest.param("7", "no type", id="unknown type"),
    pytest.param("9" * 400_000, "no type", id="400,000 digits"),
    pytest.param("-1", "no type", id="negative"),
    pytest.param(" 2", "no type", id="white space"),
    pytest.param("d=4a", "no type", id="JSONP"),
    pytest.param("Bthing", "no type", id="a capital B"),
    pytest.param("\u0663", "no type", id="an Arabic digit"),
    pytest.param("²", "no type", id="a raised digit"),
    pytest.param("\uff14", "no type", id="a wide digit"),
    pytest.param(HALF, "no type", id="half a pair as type"),
    pytest.param("4" + HALF, "surrogate", id="half a pair"),
    pytest.param("bAA", "padding", id="base64 without padding"),
    pytest.param("bAA==A", "Excess", id="base64 with more behind it"),
    pytest.param("b====", "padding", id="base64 of padding"),
    pytest.param("bA A=", "Only base64", id="base64 with a space"),
    pytest.param("bAA==\n", "Excess|Only base64", id="base64 with a line end"),
    pytest.param("b-_-_", "Only base64", id="base64 for URLs"),
    pytest.param("bé", "ASCII", id="base64 beyond ASCII"),
    pytest.param("b" + HALF, "ASCII", id="base64 with half a pair"),
]


@pytest.mark.parametrize(("text", "names"), BAD_TEXTS)
def test_what_is_no_packet_is_refused(text: str, names: str) -> None:
    with pytest.raises(BadPacket, match=names) as refused:
        read_text(text)
    refused.value.reason.encode()  # can be sent and logged
    assert len(refused.value.reason) < 200


@pytest.mark.parametrize(("text", "names"), BAD_TEXTS)
def test_one_bad_packet_spoils_the_payload(text: str, names: str) -> None:
    with pytest.raises(BadPacket, match=names):
        read_payload(f"2\x1e{text}\x1e3", MOST)


def test_binary_is_a_message() -> None:
    assert read_binary(b"\x00\xff") == EnginePacket(Kind.MESSAGE, b"\x00\xff")


def test_a_payload_is_packets() -> None:
    assert read_payload("4hello\x1e2\x1ebAQID", MOST) == [
        EnginePacket(Kind.MESSAGE, "hello"),
        EnginePacket(Kind.PING),
        EnginePacket(Kind.MESSAGE, b"\x01\x02\x03"),
    ]


@pytest.mark.parametrize("body", ["", "\x1e", "2\x1e", "\x1e2", "2\x1e\x1e2"], ids=ascii)
def test_a_payload_has_no_empty_packet(body: str) -> None:
    with pytest.raises(BadPacket, match="an empty packet"):
        read_payload(body, MOST)


def test_a_payload_has_so_many_packets_and_no_more() -> None:
    assert len(read_payload("\x1e".join(["3"] * MOST), MOST)) == MOST
    for count in (MOST + 1, 100_000):
        with pytest.raises(BadPacket, match="more than 16 packets"):
            read_payload("\x1e".join(["3"] * count), MOST)


@pytest.mark.parametrize(
    ("packet", "text", "frame"),
    [
        pytest.param(EnginePacket(Kind.PING), b"2", text_frame(b"2"), id="ping"),
        pytest.param(EnginePacket(Kind.PONG, "probe"), b"3probe", text_frame(b"3probe"), id="probe"),
        pytest.param(EnginePacket(Kind.MESSAGE, "ü"), b"4\xc3\xbc", text_frame(b"4\xc3\xbc"), id="text"),
        pytest.param(EnginePacket(Kind.MESSAGE, b"\x01"), b"bAQ==", binary_frame(b"\x01"), id="binary"),
        pytest.param(EnginePacket(Kind.MESSAGE, b""), b"b", binary_frame(b""), id="no bytes"),
        pytest.param(EnginePacket(Kind.NOOP), b"6", text_frame(b"6"), id="noop"),
    ],
)
def test_packets_are_written(packet: EnginePacket, text: bytes, frame: bytes) -> None:
    assert (text_of(packet), frame_of(packet)) == (text, frame)


def test_types_are_those_of_the_protocol() -> None:
    assert [kind.name for kind in Kind] == engineio.packet.packet_names
    assert [int(kind) for kind in Kind] == list(range(7))


# Beside python-engineio


def theirs(packet: EnginePacket) -> engineio.packet.Packet:
    return engineio.packet.Packet(int(packet.kind), packet.data)


@given(st.lists(TEXTS | BINARIES, min_size=1, max_size=MOST))
def test_what_the_official_client_writes_is_read(packets: list[EnginePacket]) -> None:
    body = Payload(packets=[theirs(packet) for packet in packets]).encode()
    assert read_payload(body, MOST) == packets
    assert body.encode() == b"\x1e".join(map(text_of, packets))


@given(st.lists(TEXTS | BINARIES, min_size=1, max_size=MOST))
def test_what_is_written_the_official_client_reads(packets: list[EnginePacket]) -> None:
    # Theirs decodes the JSON of a packet, ours leaves that alone: so none begins like it.
    packets = [each._replace(data="x" + each.data) if type(each.data) is str else each for each in packets]
    read = Payload(encoded_payload=b"\x1e".join(map(text_of, packets)).decode()).packets
    assert [(packet.packet_type, packet.data) for packet in read] == packets


@given(st.text() | st.from_regex(r"[0-6b].*") | st.binary().map(lambda data: f"b{base64.b64encode(data)!r}"))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        packets = read_payload(text, MOST)
    except BadPacket as error:
        assert error.reason
    else:
        assert b"\x1e".join(map(text_of, packets))
