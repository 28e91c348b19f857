"""Heads of requests: what is refused, and with which answer."""

from __future__ import annotations

import pytest

from gateway.upgrade import PROTOCOL, Refusal, Upgrade, examine

SOUND = {
    "host": "example.org:8000",
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
ALLOWED = frozenset({"https://pages.example.net"})
DEFLATED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def examined(
    changed: dict[str, str | None],
    method: str = "GET",
    version: str = "HTTP/1.1",
    path: str = "/ws",
    deflates: bool = True,
) -> Upgrade | Refusal:
    """What becomes of a sound request with some headers changed, None to leave one out."""
    return examine(
        method=method,
        version=version,
        path=path,
        query="a=1",
        get={**SOUND, **changed}.get,
        peer="127.0.0.1:5",
        origins=ALLOWED,
        deflates=deflates,
    )


@pytest.mark.parametrize(
    ("changed", "origin", "protocol"),
    [
        pytest.param({}, None, None, id="no browser"),
        pytest.param({"origin": "http://example.org:8000"}, "http://example.org:8000", None, id="same host"),
        pytest.param({"origin": "HTTP://Example.ORG:8000"}, "HTTP://Example.ORG:8000", None, id="any case"),
        pytest.param(
            {"origin": "https://pages.example.net"}, "https://pages.example.net", None, id="allowed origin"
        ),
        pytest.param({"sec-websocket-protocol": PROTOCOL}, None, PROTOCOL, id="protocol offered"),
        pytest.param({"sec-websocket-protocol": f"a, {PROTOCOL}"}, None, PROTOCOL, id="among others"),
        pytest.param({"sec-websocket-protocol": f"{PROTOCOL}1"}, None, None, id="another protocol"),
        pytest.param({"content-length": "0"}, None, None, id="a body of nothing"),
    ],
)
def test_sound_requests(changed: dict[str, str | None], origin: str | None, protocol: str | None) -> None:
    assert examined(changed) == Upgrade(
        "/ws", "a=1", "example.org:8000", origin, protocol, "127.0.0.1:5", SOUND["sec-websocket-key"]
    )


@pytest.mark.parametrize(
    ("offers", "deflates", "answer"),
    [
        pytest.param("permessage-deflate; client_max_window_bits", True, DEFLATED, id="taken"),
        pytest.param("permessage-deflate; client_max_window_bits", False, None, id="not used here"),
        pytest.param("permessage-deflate; server_max_window_bits=9", True, None, id="not acceptable"),
        pytest.param('permessage-deflate; "', True, None, id="malformed"),
        pytest.param("x-other", True, None, id="unknown"),
        pytest.param(None, True, None, id="none"),
    ],
)
def test_no_offer_of_an_extension_is_a_reason_to_refuse(
    offers: str | None, deflates: bool, answer: str | None
) -> None:
    found = examined({"sec-websocket-extensions": offers}, deflates=deflates)
    assert isinstance(found, Upgrade)
    assert found.extensions == answer


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        pytest.param({"host": None}, 400, id="no Host"),
        pytest.param({"connection": "keep-alive"}, 400, id="Connection without upgrade"),
        pytest.param({"content-length": "5"}, 400, id="body"),
        pytest.param({"transfer-encoding": "chunked"}, 400, id="chunked body"),
        pytest.param({"sec-websocket-version": "12"}, 400, id="version 12"),
        pytest.param({"sec-websocket-version": "8"}, 400, id="version 8"),
        pytest.param({"sec-websocket-version": None}, 426, id="no version"),
        pytest.param({"sec-websocket-key": None}, 400, id="no key"),
        pytest.param({"sec-websocket-key": "!!! no base64 !!!"}, 400, id="key no base64"),
        pytest.param({"sec-websocket-key": "dGhlIHNhbXBs"}, 400, id="key of 9 bytes"),
        pytest.param({"sec-websocket-key": "schlüssel"}, 400, id="key not ASCII"),
        pytest.param({"origin": "http://evil.example"}, 403, id="foreign origin"),
        pytest.param({"origin": "http://example.org"}, 403, id="another port"),
        pytest.param({"origin": "null"}, 403, id="null origin"),
        pytest.param({"origin": ""}, 403, id="empty origin"),
    ],
)
def test_refusals(changed: dict[str, str | None], status: int) -> None:
    refusal = examined(changed)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    if "sec-websocket-version" in changed:
        assert refusal.headers == {"Sec-WebSocket-Version": "13"}


def test_other_methods_and_versions_are_refused() -> None:
    post, old = examined({}, method="POST"), examined({}, version="HTTP/1.0")
    assert isinstance(post, Refusal) and (post.status, post.headers) == (405, {"Allow": "GET"})
    assert isinstance(old, Refusal) and old.status == 400


def test_paths_are_utf8() -> None:
    sound, broken = examined({}, path="/raw/\xc3\xbc"), examined({}, path="/raw/\xff")
    assert isinstance(sound, Upgrade) and sound.path == "/raw/ü"
    assert isinstance(broken, Refusal) and broken.status == 400
