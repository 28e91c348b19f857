"""permessage-deflate: which offers are taken, and frames that a stranger's inflater reads."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from gateway.deflate import NAME, OFFERS_MAX_BYTES, deflated_frame, negotiate

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
