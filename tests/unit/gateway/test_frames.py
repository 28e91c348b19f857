"""Frames of clients: bytes in, messages out, whatever way the bytes are cut."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.frames import (
    BAD_DATA,
    MAX_FRAGMENTS,
    NO_STATUS,
    POLICY,
    PROTOCOL_ERROR,
    TOO_BIG,
    TURN_BYTES,
    Binary,
    Closing,
    Fault,
    Inbound,
    Message,
    Ping,
    Pong,
    Text,
    binary_frame,
    close_frame,
    ping_frame,
    pong_frame,
    receive,
    text_frame,
)

LIMIT = 64 << 10
KEY = b"\x12\x34\x56\x78"


def masked(head: int, payload: bytes = b"", key: bytes = KEY) -> bytes:
    """A client's frame: first byte as given, length in its shortest form."""
    size = len(payload)
    if size < 126:
        header = struct.pack(">BB", head, 0x80 | size)
    elif size < 1 << 16:
        header = struct.pack(">BBH", head, 0x80 | 126, size)
    else:
        header = struct.pack(">BBQ", head, 0x80 | 127, size)
    return header + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


def text(words: str) -> bytes:
    return masked(0x81, words.encode())


def closing(body: bytes) -> bytes:
    return masked(0x88, body)


def said(data: bytes, limit: int = LIMIT, *, inflates: bool = False) -> list[Message]:
    return said_in([data], limit, inflates=inflates)[0]


def said_in(
    chunks: list[bytes], limit: int = LIMIT, *, inflates: bool = False
) -> tuple[list[Message], Inbound | None]:
    messages: list[Message] = []
    inbound: Inbound | None = None
    for chunk in chunks:
        heard, inbound = receive(chunk, inbound, limit, inflates=inflates)
        messages += heard
        while inbound is not None and inbound.has_more:
            heard, inbound = receive(b"", inbound, limit, inflates=inflates)
            messages += heard
    return messages, inbound


def code_of(data: bytes, limit: int = LIMIT, *, inflates: bool = False) -> int:
    """The close code of the one Fault that `data` ends in, the same byte by byte."""
    *before, last = said(data, limit, inflates=inflates)
    assert isinstance(last, Fault)
    assert not any(isinstance(message, Fault | Closing) for message in before)
    *_, slowly = said_in([bytes((byte,)) for byte in data], limit, inflates=inflates)[0]
    assert isinstance(slowly, Fault)
    assert slowly.code == last.code
    return last.code


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        pytest.param(text("hello"), [Text("hello")], id="text"),
        pytest.param(text(""), [Text("")], id="empty text"),
        pytest.param(
            text("a") + text("b") + text("ü€😀"), [Text("a"), Text("b"), Text("ü€😀")], id="three texts"
        ),
        pytest.param(text("x" * 125), [Text("x" * 125)], id="longest 7-bit length"),
        pytest.param(text("x" * 126), [Text("x" * 126)], id="shortest 16-bit length"),
        pytest.param(text("x" * 65535), [Text("x" * 65535)], id="longest 16-bit length"),
        pytest.param(text("x" * 65536), [Text("x" * 65536)], id="shortest 64-bit length"),
        pytest.param(masked(0x82, b"\0\xff"), [Binary(b"\0\xff")], id="binary"),
        pytest.param(masked(0x89, b"\xff" * 125), [Ping(b"\xff" * 125)], id="ping of 125 bytes, no UTF-8"),
        pytest.param(masked(0x8A, b"p"), [Pong(b"p")], id="pong nobody asked for"),
        pytest.param(masked(0x01, b"a") + masked(0x80, b"b"), [Text("ab")], id="two fragments"),
        pytest.param(
            masked(0x01, b"\xe2\x82") + masked(0x80, b"\xac"), [Text("€")], id="character over fragments"
        ),
        pytest.param(masked(0x02, b"a") + masked(0x80, b"b"), [Binary(b"ab")], id="binary in fragments"),
        pytest.param(
            masked(0x01, b"a") + masked(0x89, b"p") + masked(0x00, b"b") + masked(0x80),
            [Ping(b"p"), Text("ab")],
            id="ping between fragments",
        ),
        pytest.param(
            text("a") + masked(0x89, b"p") + text("b"),
            [Text("a"), Ping(b"p"), Text("b")],
            id="texts around a ping",
        ),
        pytest.param(closing(b""), [Closing(NO_STATUS, "")], id="close without a code"),
        pytest.param(closing(b"\x03\xe8bye"), [Closing(1000, "bye")], id="close with a reason"),
        pytest.param(closing(b"\x03\xe8") + text("late"), [Closing(1000, "")], id="nothing after a close"),
        pytest.param(
            masked(0x01, b"a") + closing(b"\x03\xe9"), [Closing(1001, "")], id="close inside a message"
        ),
    ],
)
def test_legal_frames_are_heard(data: bytes, messages: list[Message]) -> None:
    assert said(data) == messages


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
)
def test_close_codes_of_the_registry_are_taken(code: int) -> None:
    assert said(closing(struct.pack(">H", code))) == [Closing(code, "")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x01a", PROTOCOL_ERROR, id="unmasked text"),
        pytest.param(text("ok") + b"\x81\x01a", PROTOCOL_ERROR, id="unmasked after a masked one"),
        pytest.param(masked(0xC1, b"a"), PROTOCOL_ERROR, id="RSV1"),
        pytest.param(masked(0xA1, b"a"), PROTOCOL_ERROR, id="RSV2"),
        pytest.param(masked(0x91, b"a"), PROTOCOL_ERROR, id="RSV3"),
        pytest.param(masked(0x83, b"a"), PROTOCOL_ERROR, id="opcode 3"),
        pytest.param(masked(0x8B, b"a"), PROTOCOL_ERROR, id="opcode 11"),
        pytest.param(masked(0x89, b"p" * 126), PROTOCOL_ERROR, id="ping of 126 bytes"),
        pytest.param(masked(0x09, b"p"), PROTOCOL_ERROR, id="fragmented ping"),
        pytest.param(masked(0x80, b"a"), PROTOCOL_ERROR, id="continuation first"),
        pytest.param(text("a") + masked(0x80, b"b"), PROTOCOL_ERROR, id="continuation after a whole message"),
        pytest.param(masked(0x01, b"a") + masked(0x81, b"b"), PROTOCOL_ERROR, id="new text inside fragments"),
        pytest.param(b"\x81\xfe\x00\x05" + KEY + b"hello", PROTOCOL_ERROR, id="16-bit length for 5 bytes"),
        pytest.param(b"\x81\xff" + struct.pack(">Q", 300), PROTOCOL_ERROR, id="64-bit length for 300 bytes"),
        pytest.param(b"\x81\xff" + struct.pack(">Q", 1 << 63), PROTOCOL_ERROR, id="length of 2**63"),
        pytest.param(masked(0x81, b"\xff"), BAD_DATA, id="bad byte"),
        pytest.param(masked(0x81, b"\xe2\x82"), BAD_DATA, id="cut sequence"),
        pytest.param(masked(0x81, b"\xed\xa0\x80"), BAD_DATA, id="surrogate"),
        pytest.param(text("ok") + masked(0x81, b"\xc0\xaf"), BAD_DATA, id="overlong after a sound one"),
        pytest.param(masked(0x01, b"a\xff"), BAD_DATA, id="bad byte in the first fragment, no second one"),
        pytest.param(masked(0x01, b"\xe2") + masked(0x80, b"a"), BAD_DATA, id="sequence cut by a fragment"),
        pytest.param(
            b"\x81\xff" + struct.pack(">Q", LIMIT + 1), TOO_BIG, id="a byte over the limit, header alone"
        ),
        pytest.param(b"\x82\xff" + struct.pack(">Q", 1 << 40), TOO_BIG, id="length of 2**40, header alone"),
        pytest.param(
            masked(0x02, b"x" * LIMIT) + masked(0x00, b"x"),
            TOO_BIG,
            id="fragments that sum up over the limit",
        ),
        pytest.param(masked(0x01) + masked(0x00) * MAX_FRAGMENTS, POLICY, id="empty fragments without end"),
        pytest.param(closing(b"\x03"), PROTOCOL_ERROR, id="close body of one byte"),
        pytest.param(closing(b"\x03\xe8\xff"), BAD_DATA, id="close reason no UTF-8"),
    ],
)
def test_faults_have_their_code(data: bytes, code: int) -> None:
    assert code_of(data) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535])
def test_close_codes_that_none_may_send_are_faults(code: int) -> None:
    assert code_of(closing(struct.pack(">H", code))) == PROTOCOL_ERROR


def test_a_fault_shows_before_the_payload_has_come() -> None:
    for head in (b"\xc1\xff", b"\x81\x7f", b"\x80\x81", b"\x83\x81", b"\x89\xfe"):
        assert said(head) and isinstance(said(head)[0], Fault), head.hex()


def test_a_limit_below_the_shortest_lengths_holds() -> None:
    assert said(text("12345"), limit=5) == [Text("12345")]
    assert code_of(text("123456"), limit=5) == TOO_BIG


def test_nothing_is_allocated_for_a_frame_over_the_limit() -> None:
    header = b"\x82\xff" + struct.pack(">Q", 1 << 30) + KEY
    said(header)
    tracemalloc.start()
    said(header)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 10


def test_whole_frames_leave_no_parser_behind() -> None:
    for data in (
        text("a"),
        masked(0x82, b"b"),
        masked(0x89),
        masked(0x8A),
        masked(0x01, b"a") + masked(0x80, b"b"),
    ):
        assert receive(data, None, LIMIT)[1] is None


def test_the_parser_goes_when_frame_and_message_have_ended() -> None:
    one, two = text("first"), masked(0x01, b"sec")
    messages, inbound = said_in([one + two[:3], two[3:]])
    assert messages == [Text("first")]
    assert inbound is not None
    messages, inbound = receive(masked(0x80, b"ond"), inbound, LIMIT)
    assert (messages, inbound) == ([Text("second")], None)


def test_after_a_fault_nothing_is_heard() -> None:
    messages, inbound = receive(b"\x81\x01a", None, LIMIT)
    assert len(messages) == 1
    assert receive(text("more"), inbound, LIMIT)[0] == []


# Compressed


def deflated(payload: bytes, level: int = 6) -> bytes:
    deflate = zlib.compressobj(level, wbits=-15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def pressed(words: str) -> bytes:
    return masked(0xC1, deflated(words.encode()))


EURO = deflated("€ and more".encode())
RANDOM = random.Random(1).randbytes(LIMIT // 2).hex()


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        pytest.param(pressed("hello"), [Text("hello")], id="text"),
        pytest.param(pressed(""), [Text("")], id="empty text"),
        pytest.param(masked(0xC1), [Text("")], id="no byte at all"),
        pytest.param(masked(0xC2, deflated(b"\0\xff")), [Binary(b"\0\xff")], id="binary"),
        pytest.param(text("plain") + pressed("not"), [Text("plain"), Text("not")], id="behind a plain one"),
        pytest.param(
            pressed("a" * 99) + pressed("a" * 99), [Text("a" * 99)] * 2, id="each in a context of its own"
        ),
        pytest.param(pressed("not") + text("plain"), [Text("not"), Text("plain")], id="before a plain one"),
        pytest.param(
            masked(0x41, EURO[:1]) + masked(0x00, EURO[1:5]) + masked(0x80, EURO[5:]),
            [Text("€ and more")],
            id="in fragments",
        ),
        pytest.param(
            masked(0x41, EURO[:5]) + masked(0x89, b"p") + masked(0x80, EURO[5:]),
            [Ping(b"p"), Text("€ and more")],
            id="ping between its fragments",
        ),
        pytest.param(masked(0x01, b"a") + masked(0x80, b"b"), [Text("ab")], id="plain fragments"),
        pytest.param(pressed("x" * LIMIT), [Text("x" * LIMIT)], id="as long as may be"),
        pytest.param(pressed(RANDOM), [Text(RANDOM)], id="as long as may be, hardly smaller"),
        pytest.param(
            pressed("bye") + closing(b"\x03\xe8"), [Text("bye"), Closing(1000, "")], id="then close"
        ),
    ],
)
def test_compressed_messages_are_heard(data: bytes, messages: list[Message]) -> None:
    assert said(data, inflates=True) == messages
    assert said_in([bytes((byte,)) for byte in data], inflates=True)[0] == messages


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(masked(0xA1, b"a"), PROTOCOL_ERROR, id="RSV2"),
        pytest.param(masked(0xD1, b"a"), PROTOCOL_ERROR, id="RSV3 beside RSV1"),
        pytest.param(masked(0xC9, b"p"), PROTOCOL_ERROR, id="compressed ping"),
        pytest.param(masked(0xCA, b"p"), PROTOCOL_ERROR, id="compressed pong"),
        pytest.param(masked(0xC8, b"\x03\xe8"), PROTOCOL_ERROR, id="compressed close"),
        pytest.param(
            masked(0x41, EURO[:5]) + masked(0xC0, EURO[5:]), PROTOCOL_ERROR, id="RSV1 on the second"
        ),
        pytest.param(masked(0x01, b"a") + masked(0xC0, b"b"), PROTOCOL_ERROR, id="RSV1 on the second alone"),
        pytest.param(masked(0xC1, b"\xff" * 20), PROTOCOL_ERROR, id="not deflated"),
        pytest.param(masked(0x41, b"\xff" * 20), PROTOCOL_ERROR, id="not deflated, in the first fragment"),
        pytest.param(pressed("ok") + masked(0xC1, b"\x07"), PROTOCOL_ERROR, id="not deflated, the second"),
        pytest.param(masked(0xC1, deflated(b"a\xff")), BAD_DATA, id="no UTF-8 when inflated"),
        pytest.param(masked(0xC1, deflated(b"\xe2\x82")), BAD_DATA, id="cut sequence when inflated"),
        pytest.param(pressed("x" * (LIMIT + 1)), TOO_BIG, id="a byte over the limit when inflated"),
        pytest.param(pressed(RANDOM + "x"), TOO_BIG, id="a byte over the limit, hardly smaller"),
        pytest.param(
            masked(0x41, deflated(b"x" * LIMIT)[:-1]) + masked(0x80, deflated(b"xx")),
            TOO_BIG,
            id="over the limit in its second fragment",
        ),
        pytest.param(
            b"\xc1\xff" + struct.pack(">Q", LIMIT + 1), TOO_BIG, id="over the limit as it comes, header alone"
        ),
    ],
)
def test_faults_in_compressed_messages_have_their_code(data: bytes, code: int) -> None:
    assert code_of(data, inflates=True) == code


def test_nothing_is_inflated_where_that_was_not_negotiated() -> None:
    assert code_of(pressed("hello")) == PROTOCOL_ERROR


@pytest.mark.parametrize("fragments", [1, 100])
def test_a_bomb_allocates_no_more_than_a_message(fragments: int) -> None:
    body = deflated(bytes(50 << 20), level=9)
    assert len(body) < LIMIT < 50 << 20
    size = len(body) // fragments + 1
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    first, last = 0x41 if fragments > 1 else 0xC1, 0x80
    heads = [first, *[0x00] * (len(parts) - 2), last][: len(parts)]
    bomb = b"".join(map(masked, heads, parts))
    assert code_of(bomb[: 4 * LIMIT], inflates=True) == TOO_BIG
    tracemalloc.start()
    said(bomb, inflates=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * LIMIT


def test_small_bombs_in_one_read_are_handed_out_in_turns() -> None:
    count = 40
    data = pressed("x" * LIMIT) * count
    turns, inbound = 0, None
    heard: list[Message] = []
    while turns == 0 or (inbound is not None and inbound.has_more):
        now, inbound = receive(data if turns == 0 else b"", inbound, LIMIT, inflates=True)
        heard += now
        turns += 1
        assert sum(len(message.text) for message in now if isinstance(message, Text)) < TURN_BYTES + LIMIT
    assert heard == [Text("x" * LIMIT)] * count
    assert turns >= count * LIMIT // (TURN_BYTES + LIMIT)
    assert inbound is None


def test_a_compressed_message_leaves_no_parser_behind() -> None:
    assert receive(pressed("hello"), None, LIMIT, inflates=True)[1] is None
    assert receive(masked(0x41, EURO[:5]), None, LIMIT, inflates=True)[1] is not None


@st.composite
def streams(draw: st.DrawFn, *, inflates: bool = False) -> tuple[bytes, list[Message]]:
    """A legal stream of frames, and what it says."""
    data = b""
    messages: list[Message] = []
    controls = st.lists(st.tuples(st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)), max_size=2)

    def between() -> None:
        nonlocal data
        for head, body in draw(controls):
            data += masked(head, body)
            messages.append(Ping(body) if head == 0x89 else Pong(body))

    for content in draw(st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=6)):
        between()
        body = content.encode() if isinstance(content, str) else content
        reserved = 0x40 if inflates and draw(st.booleans()) else 0
        body = deflated(body) if reserved else body
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
        places = list(zip([0, *cuts], [*cuts, len(body)], strict=True))
        for number, (start, stop) in enumerate(places):
            opcode = 0 if number else 1 if isinstance(content, str) else 2
            final = 0x80 if number == len(places) - 1 else 0
            opcode |= 0 if number else reserved
            data += masked(final | opcode, body[start:stop], draw(st.binary(min_size=4, max_size=4)))
            if not final:
                between()
        messages.append(Text(content) if isinstance(content, str) else Binary(content))
    if draw(st.booleans()):
        data += closing(b"\x0f\xa0over")
        messages.append(Closing(4000, "over"))
    return data, messages


@given(inflates=st.booleans(), drawn=st.data(), seed=st.integers(0, 1 << 32), widest=st.integers(1, 400))
def test_any_cutting_of_a_legal_stream_says_the_same(
    inflates: bool, drawn: st.DataObject, seed: int, widest: int
) -> None:
    data, messages = drawn.draw(streams(inflates=inflates))
    draw, chunks, at = random.Random(seed), [], 0
    while at < len(data):
        width = draw.randint(1, widest)
        chunks.append(data[at : at + width])
        at += width
    heard, inbound = said_in(chunks, inflates=inflates)
    assert heard == messages
    assert inbound is None or isinstance(messages[-1], Closing)


@given(data=st.binary(max_size=200), limit=st.integers(1, 300), inflates=st.booleans())
@example(data=masked(0xC1, bytes(range(200))), limit=300, inflates=True)
def test_no_bytes_make_it_raise_and_faults_come_last(data: bytes, limit: int, inflates: bool) -> None:
    messages, _ = said_in([data[:7], data[7:]], limit, inflates=inflates)
    assert not any(isinstance(message, Fault | Closing) for message in messages[:-1])


@pytest.mark.parametrize(
    ("make", "opcode", "sizes"),
    [
        pytest.param(text_frame, Opcode.TEXT, [0, 1, 125, 126, 65535, 65536], id="text"),
        pytest.param(binary_frame, Opcode.BINARY, [0, 1, 125, 126, 65535, 65536], id="binary"),
        pytest.param(ping_frame, Opcode.PING, [0, 125], id="ping"),
        pytest.param(pong_frame, Opcode.PONG, [0, 125], id="pong"),
    ],
)
def test_frames_are_written_as_the_library_writes_them(
    make: Callable[[bytes], bytes], opcode: Opcode, sizes: list[int]
) -> None:
    for size in sizes:
        assert make(b"x" * size) == Frame(opcode, b"x" * size).serialize(mask=False)


@pytest.mark.parametrize(
    ("code", "reason", "frame"),
    [
        pytest.param(1000, "", b"\x88\x02\x03\xe8", id="code alone"),
        pytest.param(1002, "no", b"\x88\x04\x03\xeano", id="with a reason"),
        pytest.param(NO_STATUS, "", b"\x88\x00", id="no code"),
        pytest.param(1000, "x" * 200, b"\x88\x7d\x03\xe8" + b"x" * 123, id="reason cut at 123 bytes"),
        pytest.param(1000, "€" * 42, b"\x88\x7d\x03\xe8" + "€".encode() * 41, id="no character cut in half"),
    ],
)
def test_close_frames(code: int, reason: str, frame: bytes) -> None:
    assert close_frame(code, reason) == frame
