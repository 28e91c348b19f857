"""permessage-deflate: which offers are taken, and frames that a stranger's inflater reads."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from broker.wire import Content
from gateway import forms
from gateway.deflate import NAME, OFFERS_MAX_BYTES, deflated_frame, negotiate
from tests.support.events import event
from tests.support.flow import Flow, Socket

TAKEN = f"{NAME}; server_no_context_takeover; client_no_context_takeover"
WIDEST = f"{TAKEN}; server_max_window_bits=15"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        pytest.param("permessage-deflate", TAKEN, id="plain"),
        pytest.param("permessage-deflate; client_max_window_bits", TAKEN, id="Chromium, Firefox, ws"),
        pytest.param("permessage-deflate;client_max_window_bits=9", TAKEN, id="small window of its own"),
        pytest.param(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            TAKEN,
            id="asks for it",
        ),
        pytest.param("permessage-deflate; server_max_window_bits=15", WIDEST, id="the window that we have"),
        pytest.param('permessage-deflate; server_max_window_bits="15"', WIDEST, id="the same in quotes"),
        pytest.param("permessage-deflate ;\tserver_max_window_bits = 15 ", WIDEST, id="any white space"),
        pytest.param("x-webkit-deflate-frame, permessage-deflate", TAKEN, id="behind another extension"),
        pytest.param('x-other; a="b, c"; d, permessage-deflate', TAKEN, id="a comma in quotes"),
        pytest.param(
            "permessage-deflate; server_max_window_bits=10, permessage-deflate", TAKEN, id="the second offer"
        ),
        pytest.param(
            "permessage-deflate; server_max_window_bits=15, permessage-deflate", WIDEST, id="the first of two"
        ),
        pytest.param("permessage-deflate; =, permessage-deflate", TAKEN, id="behind a malformed one"),
        pytest.param(",, permessage-deflate,", TAKEN, id="empty elements"),
        pytest.param("permessage-deflate; server_max_window_bits=14", None, id="a smaller window"),
        pytest.param("permessage-deflate; server_max_window_bits=8", None, id="the smallest window"),
        pytest.param("permessage-deflate; server_max_window_bits=16", None, id="no such window"),
        pytest.param("permessage-deflate; server_max_window_bits=015", None, id="leading zero"),
        pytest.param("permessage-deflate; server_max_window_bits", None, id="window without a value"),
        pytest.param("permessage-deflate; client_max_window_bits=7", None, id="client window too small"),
        pytest.param("permessage-deflate; client_max_window_bits=16", None, id="client window too large"),
        pytest.param("permessage-deflate; client_max_window_bits=ten", None, id="client window no number"),
        pytest.param(
            "permessage-deflate; client_max_window_bits=1\u0665", None, id="digit of another script"
        ),
        pytest.param("permessage-deflate; server_no_context_takeover=1", None, id="value where none belongs"),
        pytest.param(
            "permessage-deflate; client_no_context_takeover=true", None, id="the same of the client"
        ),
        pytest.param("permessage-deflate; mem_level=9", None, id="unknown parameter"),
        pytest.param(
            "permessage-deflate; client_max_window_bits; client_max_window_bits", None, id="repeated"
        ),
        pytest.param(
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            None,
            id="repeated alike",
        ),
        pytest.param("permessage-deflate;", None, id="empty parameter"),
        pytest.param("permessage-deflate; client_max_window_bits=", None, id="no value behind the sign"),
        pytest.param("permessage-deflate; client max window bits", None, id="white space in a name"),
        pytest.param('permessage-deflate; client_max_window_bits="10', None, id="open quote"),
        pytest.param('x; a="b, permessage-deflate', None, id="everything behind an open quote"),
        pytest.param(r'x; a="\", permessage-deflate, \"b"', None, id="quoted quotes"),
        pytest.param("PERMESSAGE-DEFLATE", None, id="upper case"),
        pytest.param("permessage-deflate-2", None, id="another extension"),
        pytest.param("", None, id="nothing"),
        pytest.param("\x00\xff;;==", None, id="noise"),
        pytest.param("x," * (OFFERS_MAX_BYTES // 2) + "permessage-deflate", None, id="too long"),
    ],
)
def test_the_first_acceptable_offer_is_taken(offers: str, answer: str | None) -> None:
    assert negotiate(offers) == answer


@given(st.text(alphabet='permsag-dflt; ,="\\15\t_cint\xff', max_size=80))
def test_no_header_makes_it_raise(offers: str) -> None:
    assert negotiate(offers) in (None, TAKEN, WIDEST)


def a_client() -> Protocol:
    """A stranger's, with what it holds to be negotiated. Its inflater forgets after each message."""
    client = Protocol(Side.CLIENT, state=OPEN, max_size=None)
    client.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return client


def heard(client: Protocol, data: bytes) -> list[Frame]:
    client.receive_data(data)
    frames = client.events_received()
    assert client.parser_exc is None
    assert all(isinstance(frame, Frame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, Frame)]


@given(st.lists(st.binary(max_size=2_000) | st.text(max_size=200).map(str.encode), min_size=1, max_size=5))
def test_a_stranger_reads_what_we_compress(payloads: list[bytes]) -> None:
    frames = heard(a_client(), b"".join(map(deflated_frame, payloads)))
    assert [bytes(frame.data) for frame in frames] == payloads
    assert {frame.opcode for frame in frames} == {Opcode.TEXT}


def test_binary_stays_binary() -> None:
    (frame,) = heard(a_client(), deflated_frame(b"\xff\x00" * 50, Opcode.BINARY))
    assert (frame.opcode, bytes(frame.data)) == (Opcode.BINARY, b"\xff\x00" * 50)


@pytest.mark.parametrize("size", [0, 1, 600, 70_000])
def test_the_frame_is_one_of_the_rfc(size: int) -> None:
    payload = bytes(number * number % 251 for number in range(size))
    data = deflated_frame(payload)
    assert data[0] == 0x80 | 0x40 | Opcode.TEXT  # FIN and RSV1
    body = data[2 if data[1] < 126 else 4 if data[1] == 126 else 10 :]
    assert not body.endswith(b"\x00\x00\xff\xff")
    inflate = zlib.decompressobj(wbits=-15)
    assert inflate.decompress(body + b"\x00\x00\xff\xff") == payload
    assert not inflate.eof  # a sync flush, no final block


def test_each_message_stands_alone() -> None:
    """So one compression serves a whole cohort, whatever each of them got before."""
    words = b'{"topic":"a","data":1}' * 50
    assert deflated_frame(words) == deflated_frame(words)
    assert heard(a_client(), deflated_frame(words))[0].data == words
    assert len(deflated_frame(words)) < len(words) // 5


# In the flow


LEAST = 300


@pytest.fixture
def compressions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was compressed, in order."""
    done: list[bytes] = []

    def counted(payload: bytes, opcode: int = Opcode.TEXT) -> bytes:
        done.append(payload)
        return deflated_frame(payload, opcode)

    monkeypatch.setattr(forms, "deflated_frame", counted)
    return done


class Reader:
    """What a connection has sent, as a stranger's client reads it."""

    def __init__(self, socket: Socket) -> None:
        self._socket, self._client = socket, a_client()

    def messages(self) -> list[bytes]:
        data, self._socket._sent = self._socket._sent, b""
        return [bytes(frame.data) for frame in heard(self._client, data)]


def test_with_and_without_compression_the_same_is_heard(compressions: list[bytes]) -> None:
    flow = Flow()
    pressing = forms.native_deflated(LEAST)
    readers = [Reader(flow.connect("a", form=form)) for form in (forms.NATIVE, pressing)]
    told: list[list[bytes]] = [[], []]
    for count in (1, 2, 40):
        flow.publish(*["a"] * count)
        flow.flush()
        for reader, lines in zip(readers, told, strict=True):
            lines += [line for message in reader.messages() for line in message.split(b"\n")]
    assert told[0] == told[1]
    assert sum(b'"topic"' in line for line in told[0]) == 43
    assert [payload.count(b'"topic"') for payload in compressions if b'"topic"' in payload] == [40]


def test_a_flush_is_compressed_once_for_all_who_take_it_so(compressions: list[bytes]) -> None:
    flow = Flow()
    pressing = forms.native_deflated(LEAST)
    readers = [Reader(flow.connect("a", form=pressing)) for _ in range(20)]
    for reader in readers:
        reader.messages()
    del compressions[:]
    for flushes in (1, 2, 3):
        flow.publish(*["a"] * 30)
        flow.flush()
        assert len(compressions) == flushes
        assert {tuple(reader.messages()) for reader in readers} == {(compressions[-1],)}


def test_a_large_flush_is_cut_before_it_is_compressed(compressions: list[bytes]) -> None:
    flow = Flow()
    reader = Reader(flow.connect("a", form=forms.native_deflated(LEAST)))
    reader.messages()
    flow.publish(*["a"] * (3 * forms.FRAME_BYTES // 80))
    flow.flush()
    messages = reader.messages()
    assert messages == compressions[-len(messages) :]
    assert len(messages) >= 3
    assert max(map(len, messages)) <= forms.FRAME_BYTES


@pytest.mark.parametrize(
    ("payload", "content", "opcode", "is_pressed"),
    [
        pytest.param(b"x" * LEAST, Content.UNKNOWN, Opcode.TEXT, True, id="text"),
        pytest.param(b"\xff" * LEAST, Content.UNKNOWN, Opcode.BINARY, True, id="no UTF-8"),
        pytest.param(b"x" * LEAST, Content.BINARY, Opcode.BINARY, True, id="said to be binary"),
        pytest.param(b"x" * (LEAST - 1), Content.UNKNOWN, Opcode.TEXT, False, id="small"),
    ],
)
def test_raw_payloads_are_compressed_one_by_one(
    payload: bytes, content: Content, opcode: Opcode, is_pressed: bool
) -> None:
    data = forms.raw_deflated(LEAST).encode(event("a", 1, payload=payload, content=content))
    assert bool(data[0] & 0x40) is is_pressed
    (frame,) = heard(a_client(), data)
    assert (frame.opcode, bytes(frame.data)) == (opcode, payload)
