"""The HTTP API and the pages: what is answered, and how each fault is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from broker import control
from broker.errors import ControlError, ControlTimeout
from broker.topics import Pattern
from broker.wire import pack_records, pack_stamp
from gateway import http
from gateway.http import Api, secured
from gateway.pages import pages
from gateway.publishing import Draft, Outcome, Published, Publisher, Refused

EPOCH = 0x9F3C2A7BE1D04C11
OTHER = "0000000000000001"
HISTORY_MAX = 500
PUBLISH_MAX_BYTES = 100
ALLOWED = "https://pages.example.net"


def position(seq: int) -> str:
    return f"{EPOCH:016x}.{seq}"


def head(seq: int = 50, forgotten: int = 0) -> control.Head:
    return control.Head(epoch=f"{EPOCH:016x}", head=seq, oldest=1, forgotten=forgotten, start=0)


def records(*places: tuple[int, int]) -> bytes:
    """Events of topic `a`, as (seq, prev)."""
    return pack_records((b"a", pack_stamp(0, 1, EPOCH, seq, prev, 1), b"%d" % seq) for seq, prev in places)


class Broker:
    """Answers what a test put in by the kind of request, and notes what was asked."""

    def __init__(self) -> None:
        self.asked: list[control.AnyRequest] = []
        self.pages: dict[type, Any] = {}
        self.error: ControlError | None = None
        self.drafts: list[Draft] = []
        self.outcome: Outcome = Published(position(7))

    def call(self, request: control.AnyRequest, timeout_s: float = 5) -> tuple[Any, bytes]:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        page: tuple[Any, bytes] = self.pages[type(request)]
        return page

    def publish(self, draft: Draft) -> Outcome:
        self.drafts.append(draft)
        return self.outcome


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def publisher() -> Publisher:
    """Asks nobody: only for what is decided before."""
    return Publisher(
        lambda *_, **__: None,
        lambda: 0.0,
        anonymous=[Pattern("room/**")],
        most=1,
        payload_max_bytes=PUBLISH_MAX_BYTES,
        maybe_silence=lambda: None,
    )


@pytest.fixture
def api(broker: Broker, publisher: Publisher) -> Api:
    return Api(
        broker.call,
        lambda: {"connections": 3},
        HISTORY_MAX,
        publisher,
        broker.publish,
        publish_max_bytes=PUBLISH_MAX_BYTES,
        origins=[ALLOWED.upper()],
    )


@pytest.fixture
def client(api: Api) -> Client:
    return Client(secured(api))


def error_of(response: TestResponse) -> tuple[int, str]:
    return response.status_code, json.loads(response.data)["error"]["code"]


def test_topics_are_listed(broker: Broker, client: Client) -> None:
    topic = control.Topic(topic="a/b", seq=7, nth=2, time=1.5)
    broker.pages[control.Topics] = control.TopicsPage(at=head(), topics=[topic], more=True), b""
    response = client.get("/api/topics?pattern=a/**&limit=5&after=a/a")
    assert json.loads(response.data) == {
        "position": position(50),
        "topics": [{"topic": "a/b", "seq": 7, "nth": 2, "time": 1.5}],
        "more": True,
    }
    assert broker.asked == [control.Topics(id=0, patterns=("a/**",), after="a/a", limit=5)]


def test_history_is_the_newest_events(broker: Broker, client: Client) -> None:
    broker.pages[control.Last] = control.LastPage(at=head()), records((40, 30), (41, 40))
    found = json.loads(client.get("/api/topics/a/history").data)
    assert [event["seq"] for event in found.pop("events")] == [40, 41]
    assert found == {"position": position(50), "recovered": True, "truncated": False}
    assert broker.asked == [control.Last(id=0, patterns=("a",), count=100, limit=100)]


def test_a_topic_of_several_segments_is_one_topic(broker: Broker, client: Client) -> None:
    broker.pages[control.Last] = control.LastPage(at=head()), b""
    assert client.get("/api/topics/a/history/history").status_code == 200
    assert client.get("/api/topics/a%2Fü/history?limit=1").status_code == 200
    assert [request.patterns for request in broker.asked if isinstance(request, control.Last)] == [
        ("a/history",),
        ("a/ü",),
    ]


@pytest.mark.parametrize(
    ("page", "found", "expected"),
    [
        pytest.param(
            control.ReplayPage(at=head(), through=50),
            [(41, 30), (45, 41)],
            {"recovered": True, "truncated": False, "position": position(50)},
            id="all of it",
        ),
        pytest.param(
            control.ReplayPage(at=head(), through=45),
            [(41, 30), (45, 41)],
            {"recovered": True, "truncated": True, "position": position(45)},
            id="a page of it",
        ),
        pytest.param(
            control.ReplayPage(at=head(), through=50),
            [],
            {"recovered": True, "truncated": False, "position": position(50)},
            id="nothing new",
        ),
        pytest.param(
            control.ReplayPage(at=head(), through=50, holes=[("a", 43, 7)]),
            [(44, 43)],
            {"recovered": False, "truncated": False, "position": position(50)},
            id="begins too late",
        ),
        pytest.param(
            control.ReplayPage(at=head(), through=50, holes=[("a", 46, 7)]),
            [],
            {"recovered": False, "truncated": False, "position": position(50)},
            id="nothing left",
        ),
        pytest.param(
            control.ReplayPage(at=head(forgotten=45), through=50),
            [],
            {"recovered": False, "truncated": False, "position": position(50)},
            id="perhaps forgotten",
        ),
        pytest.param(
            control.ReplayPage(at=head(), through=50, damaged=[(42, 44)]),
            [(41, 30)],
            {"recovered": False, "truncated": False, "position": position(50)},
            id="damaged",
        ),
    ],
)
def test_history_since_a_position(
    broker: Broker,
    client: Client,
    page: control.ReplayPage,
    found: list[tuple[int, int]],
    expected: dict[str, Any],
) -> None:
    broker.pages[control.Replay] = page, records(*found)
    answer = json.loads(client.get(f"/api/topics/a/history?since={position(40)}&limit=20").data)
    assert [event["seq"] for event in answer.pop("events")] == [seq for seq, _ in found]
    assert answer == expected
    assert broker.asked == [control.Replay(id=0, patterns=("a",), after=40, limit=20)]


@pytest.mark.parametrize("since", [f"{OTHER}.40", position(51), position((1 << 64) - 1)])
def test_a_position_of_no_log_of_ours_is_not_recovered(broker: Broker, client: Client, since: str) -> None:
    broker.pages[control.Replay] = control.ReplayPage(at=head(), through=50), records((45, 44))
    broker.pages[control.Last] = control.LastPage(at=head()), records((40, 30), (41, 40))
    answer = json.loads(client.get(f"/api/topics/a/history?since={since}").data)
    assert (answer["recovered"], answer["position"]) == (False, position(50))
    assert [event["seq"] for event in answer["events"]] == [40, 41]


def test_status_has_both_sides(broker: Broker, client: Client) -> None:
    broker.pages[control.Status] = (
        control.StatusPage(
            at=head(), version="1", durability="process", uptime_s=1, received=2, logged=2, dropped={},
            confirmed=1, refused={}, topics=1, log_bytes=9, subscribed=1,
        ),
        b"",
    )  # fmt: skip
    answer = json.loads(client.get("/api/status").data)
    assert answer["gateway"] == {"connections": 3}
    assert answer["broker"]["at"]["head"] == 50


def test_status_is_answered_without_a_broker(broker: Broker, client: Client) -> None:
    broker.error = ControlTimeout("tcp://127.0.0.1:1", 1)
    assert json.loads(client.get("/api/status").data) == {"gateway": {"connections": 3}, "broker": None}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(ControlTimeout("tcp://127.0.0.1:1", 5), 503, "unavailable", id="not heard"),
        pytest.param(ControlError("unavailable", "full"), 503, "unavailable", id="takes nothing"),
        pytest.param(ControlError("damaged", "checksum"), 502, "damaged", id="the broker's own error"),
    ],
)
def test_the_brokers_errors_are_told(
    broker: Broker, client: Client, error: ControlError, status: int, code: str
) -> None:
    broker.error = error
    response = client.get("/api/topics")
    assert error_of(response) == (status, code)
    assert ("Retry-After" in response.headers) == (status == 503)


@pytest.mark.parametrize(
    ("url", "status", "code", "named"),
    [
        pytest.param("/nowhere", 404, "not_found", "/nowhere", id="nothing there"),
        pytest.param("/api/topics/a", 404, "not_found", "/api/topics/a", id="topic alone"),
        pytest.param("/api/topics?limit=0", 400, "bad_parameter", "'limit'", id="limit of 0"),
        pytest.param("/api/topics?limit=x", 400, "bad_parameter", "'limit'", id="limit no number"),
        pytest.param(
            "/api/topics/a/history?limit=501", 400, "bad_parameter", "1 to 500", id="limit too large"
        ),
        pytest.param("/api/topics?pattern=a//b", 400, "bad_parameter", "'pattern'", id="bad pattern"),
        pytest.param("/api/topics?limt=1", 400, "bad_parameter", "'limt'", id="unknown parameter"),
        pytest.param("/api/topics?limit=1&limit=2", 400, "bad_parameter", "more than once", id="repeated"),
        pytest.param("/api/status?a=1", 400, "bad_parameter", "'a'", id="parameter where none is"),
        pytest.param("/api/topics/a/history?since=7", 400, "bad_parameter", "'since'", id="bad position"),
        pytest.param("/api/topics/a//b/history", 400, "bad_topic", "empty segment", id="empty segment"),
        pytest.param("/api/topics/a/../history", 400, "bad_topic", "'..'", id="dots"),
        pytest.param("/api/topics/*/history", 400, "bad_topic", "'*'", id="wildcard in a topic"),
        pytest.param("/api/topics/" + "a" * 256 + "/history", 400, "bad_topic", "255", id="long topic"),
        pytest.param("/api/topics/$broker/beat/history", 403, "forbidden", "$broker/beat", id="system topic"),
        pytest.param("/api/topics?pattern=$broker/**", 403, "forbidden", "$broker/**", id="system pattern"),
        pytest.param("/ws", 426, "upgrade_required", "/ws", id="WebSocket without an upgrade"),
        pytest.param("/raw/a/b", 426, "upgrade_required", "/raw/a/b", id="raw without an upgrade"),
    ],
)
def test_what_is_wrong_is_named(client: Client, url: str, status: int, code: str, named: str) -> None:
    response = client.get(url)
    assert error_of(response) == (status, code)
    assert named in json.loads(response.data)["error"]["message"]
    assert response.headers["Content-Type"] == "application/json"


def test_other_methods_are_told_what_is_allowed(client: Client) -> None:
    response = client.post("/api/topics")
    assert error_of(response) == (405, "bad_method")
    assert "GET" in response.headers["Allow"]


# Publishing


@pytest.mark.parametrize(
    ("kind", "body", "payloads", "answer"),
    [
        pytest.param("application/json", b'{"v": 1.0}', [b'{"v": 1.0}'], {}, id="JSON"),
        pytest.param("application/x-www-form-urlencoded", b"a=b", [b"a=b"], {}, id="as curl sends it"),
        pytest.param("", b"", [b""], {}, id="nothing"),
        pytest.param("application/x-ndjson", b"1\n\n2\n", [b"1", b"2"], {"count": 2}, id="a batch"),
    ],
)
def test_a_post_is_published(
    broker: Broker, client: Client, kind: str, body: bytes, payloads: list[bytes], answer: dict[str, int]
) -> None:
    headers = {"Idempotency-Key": "k"}
    response = client.post("/api/publish/room/ü", data=body, content_type=kind, headers=headers)
    assert (response.status_code, json.loads(response.data)) == (200, {"position": position(7), **answer})
    (draft,) = broker.drafts
    assert (draft.topic, draft.key, [payload for payload, _ in draft.payloads]) == ("room/ü", "k", payloads)


def test_a_known_key_is_told(broker: Broker, client: Client) -> None:
    broker.outcome = Published(position(7), is_repeated=True)
    response = client.post("/api/publish/room/1", data=b"1")
    assert json.loads(response.data) == {"position": position(7), "repeated": True}


@pytest.mark.parametrize("size", [PUBLISH_MAX_BYTES, PUBLISH_MAX_BYTES + 1])
@pytest.mark.parametrize("is_chunked", [pytest.param(True, id="chunked"), pytest.param(False, id="whole")])
def test_a_body_has_a_size(broker: Broker, client: Client, size: int, is_chunked: bool) -> None:
    told = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    environ = told if is_chunked else {}
    response = client.post("/api/publish/room/1", data=b"x" * size, environ_overrides=environ)
    if size == PUBLISH_MAX_BYTES:
        assert (response.status_code, len(broker.drafts)) == (200, 1)
    else:
        assert error_of(response) == (413, "payload_too_large")
        assert "`publish_max_bytes`" in response.text and broker.drafts == []


def test_bodies_have_a_size_in_all(api: Api, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODIES_MAX_BYTES", 50)
    for _ in range(2):
        response = client.post("/api/publish/room/1", data=b"x" * 51)
        assert error_of(response) == (503, "too_many_publishes")
        assert client.post("/api/publish/room/1", data=b"x" * 50).status_code == 200


@pytest.mark.parametrize(
    ("url", "headers", "body", "status", "code"),
    [
        pytest.param("/api/publish/other", {}, b"1", 403, "forbidden", id="not where everybody may"),
        pytest.param("/api/publish/$x", {}, b"1", 403, "forbidden", id="the system's own"),
        pytest.param("/api/publish/room//1", {}, b"1", 400, "bad_topic", id="no topic"),
        pytest.param("/api/publish/", {}, b"1", 404, "not_found", id="no topic at all"),
        pytest.param("/api/publish/room/1?key=k", {}, b"1", 400, "bad_parameter", id="a query"),
        pytest.param("/api/publish/room/1", {"Idempotency-Key": "a b"}, b"1", 400, "bad_key", id="bad key"),
        pytest.param("/api/publish/room/1", {"Content-Type": "application/json"}, b"{", 400, "bad_payload",
                     id="no JSON"),
        pytest.param("/api/publish/room/1", {"Content-Type": "multipart/x"}, b"", 415, "bad_content_type",
                     id="a form"),
        pytest.param("/api/publish/other/$", {"Origin": "http://evil.example"}, b"{", 403, "foreign_origin",
                     id="a foreign page, before all else"),
    ],
)  # fmt: skip
def test_what_is_not_published_is_named_and_counted(
    broker: Broker,
    client: Client,
    publisher: Publisher,
    url: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    code: str,
) -> None:
    assert error_of(client.post(url, data=body, headers=headers)) == (status, code)
    assert broker.drafts == []
    assert publisher.tally.counts == ({code: 1} if status != 404 else {})


def test_a_topic_that_is_not_utf8_is_not_mended(broker: Broker, client: Client) -> None:
    path = {"PATH_INFO": "/api/publish/room/\xff"}
    response = client.post("/api/publish/room/x", data=b"1", environ_overrides=path)
    assert error_of(response) == (400, "bad_topic") and broker.drafts == []


@pytest.mark.parametrize(
    ("code", "status", "again"), [("unknown", 504, None), ("unavailable", 503, "1"), ("conflict", 409, None)]
)
def test_what_the_broker_did_not_confirm_is_told(
    broker: Broker, client: Client, code: str, status: int, again: str | None
) -> None:
    broker.outcome = Refused(code, "why")
    response = client.post("/api/publish/room/1", data=b"1")
    assert error_of(response) == (status, code)
    assert response.headers.get("Retry-After") == again


def test_pages_of_listed_origins_may_publish_and_read_what_became_of_it(
    broker: Broker, client: Client
) -> None:
    page = {"Origin": ALLOWED}
    asked = client.options("/api/publish/room/1", headers=page)
    assert (asked.status_code, asked.data) == (204, b"")
    assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]
    told = client.post("/api/publish/room/1", data=b"1", headers=page)
    refused = client.post("/api/publish/other", data=b"1", headers=page)
    assert (told.status_code, refused.status_code) == (200, 403)
    assert {each.headers["Access-Control-Allow-Origin"] for each in (asked, told, refused)} == {ALLOWED}
    assert {each.headers["Vary"] for each in (asked, told, refused)} == {"Origin"}


def test_a_foreign_page_is_not_told_that_it_may_ask(client: Client) -> None:
    response = client.options("/api/publish/room/1", headers={"Origin": "http://evil.example"})
    assert error_of(response) == (403, "foreign_origin")
    assert "Access-Control-Allow-Origin" not in response.headers


def test_publishing_takes_a_post(client: Client) -> None:
    response = client.get("/api/publish/room/1")
    assert error_of(response) == (405, "bad_method") and "POST" in response.headers["Allow"]


@pytest.fixture
def web(tmp_path: Path) -> Path:
    (tmp_path / "public" / "sub").mkdir(parents=True)
    (tmp_path / "public" / "index.html").write_text("<p>home")
    (tmp_path / "public" / "sub" / "app.js").write_text("export {}")
    (tmp_path / "node_modules" / "lib").mkdir(parents=True)
    (tmp_path / "node_modules" / "lib" / "lib.css").write_text("p {}")
    (tmp_path / "node_modules" / "lib" / "secret.js").write_text("no")
    (tmp_path / "secret.txt").write_text("no")
    vendor = {
        "/lib/lib-1.0.0/lib.css": "lib/lib.css",
        "/socket.io/lib.css": "lib/lib.css",
        "/lib/gone-1.0.0/gone.js": "gone/gone.js",
    }
    (tmp_path / "vendor.json").write_text(json.dumps(vendor))
    return tmp_path


@pytest.fixture
def site(web: Path, api: Api) -> Client:
    return Client(secured(pages(api, web)))


@pytest.mark.parametrize(
    ("url", "body", "kind", "kept"),
    [
        pytest.param("/", "<p>home", "text/html", "max-age=0, public", id="index"),
        pytest.param("/sub/app.js", "export {}", "text/javascript", "max-age=0, public", id="own"),
        pytest.param(
            "/lib/lib-1.0.0/lib.css",
            "p {}",
            "text/css",
            "max-age=315360000, public, immutable",
            id="third-party",
        ),
        pytest.param(
            "/socket.io/lib.css", "p {}", "text/css", "max-age=0, public", id="third-party, no version"
        ),
    ],
)
def test_files_are_served(site: Client, url: str, body: str, kind: str, kept: str) -> None:
    response = site.get(url)
    assert (response.status_code, response.text) == (200, body)
    assert (response.mimetype, response.headers["Cache-Control"]) == (kind, kept)
    again = site.get(url, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert site.head(url).data == b""


def test_a_file_that_is_edited_or_added_is_right_at_once(web: Path, site: Client) -> None:
    index, added = web / "public" / "index.html", web / "public" / "mine" / "index.html"
    before = site.get("/")
    known = {"If-None-Match": before.headers["ETag"]}
    index.write_text("<p>longer than it was")
    after = site.get("/", headers=known)
    assert (after.status_code, after.text) == (200, "<p>longer than it was")
    assert after.headers["Content-Length"] == str(len("<p>longer than it was"))

    assert site.get("/mine/").status_code == 404
    added.parent.mkdir()
    added.write_text("<p>mine")
    assert site.get("/mine/").text == "<p>mine"
    added.unlink()
    assert site.get("/mine/").status_code == 404


def test_an_edit_of_the_same_length_in_the_same_second_is_seen(web: Path, site: Client) -> None:
    index = web / "public" / "index.html"
    os.utime(index, ns=(10**18, 10**18))
    known = {"If-None-Match": site.get("/").headers["ETag"]}
    index.write_text("<p>HOME")
    os.utime(index, ns=(10**18, 10**18 + 1_000_000))
    assert site.get("/", headers=known).text == "<p>HOME"


def test_a_page_that_names_no_icon_gets_ours(web: Path, site: Client) -> None:
    (web / "public" / "favicon.svg").write_text("<svg/>")
    icon = site.get("/favicon.ico")
    assert (icon.status_code, icon.text, icon.mimetype) == (200, "<svg/>", "image/svg+xml")
    (web / "public" / "favicon.ico").write_bytes(b"one of his own")
    assert site.get("/favicon.ico").data == b"one of his own"


@pytest.mark.parametrize(
    "url",
    [
        "/secret.txt",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/..%2fsecret.txt",
        "/node_modules/lib/secret.js",
        "/lib/lib-1.0.0/secret.js",
        "/lib/gone-1.0.0/gone.js",
        "/sub",
        "//etc/passwd",
        "/index.html%00.js",
        "/favicon.ico",
    ],
)
def test_nothing_else_is_served(site: Client, url: str) -> None:
    assert error_of(site.get(url)) == (404, "not_found")


def test_a_missing_third_party_file_is_logged_with_the_remedy(
    web: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages(None, web)
    assert "gone.js" in caplog.text and "npm ci" in caplog.text


@pytest.mark.parametrize("url", ["/", "/index.html", "/sub/app.js", "/nowhere", "/api/topics?limit=0"])
def test_every_answer_has_the_security_headers(site: Client, url: str) -> None:
    headers = site.get(url).headers
    policy = "default-src 'self'; frame-ancestors 'self'; base-uri 'none'; object-src 'none'"
    assert headers["Content-Security-Policy"] == policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
