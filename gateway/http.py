"""The HTTP API, as a WSGI application: what a page or a script asks.

Errors are JSON, `{"error": {"code": ..., "message": ...}}`, with the status that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from broker import control
from broker.errors import BadPattern, BadPosition, BadTopic, ControlError, PenstockError
from broker.topics import Pattern, check_topic, is_system
from broker.wire import Position
from gateway import posting
from gateway.forms import natives
from gateway.publishing import Draft, Outcome, Published, Publisher, Refused
from gateway.records import Records
from gateway.upgrade import Refusal

HISTORY_DEFAULT = 100
TOPICS_DEFAULT = 1_000
TOPICS_MAX = 10_000
STATUS_TIMEOUT_S = 1.0
RETRY_AFTER_S = 1
READ_BYTES = 64 << 10
BODIES_MAX_BYTES = 64 << 20  # in memory at a time, of requests that publish

SECURITY_HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'self'; frame-ancestors 'self'; base-uri 'none'; object-src 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]

_ROUTES = Map(
    [
        Rule("/api/topics", endpoint="topics", methods=["GET"]),
        Rule("/api/topics/<path:topic>/history", endpoint="history", methods=["GET"]),
        Rule("/api/status", endpoint="status", methods=["GET"]),
        Rule("/api/publish/<path:topic>", endpoint="publish", methods=["POST", "OPTIONS"]),
        Rule("/ws", endpoint="websocket"),
        Rule("/raw/<path:topic>", endpoint="websocket"),
    ],
    strict_slashes=False,
    merge_slashes=False,  # an empty segment is no topic's: it is told, not mended
)


class Call(Protocol):
    """Asks the broker; see ControlLink.call."""

    def __call__(self, request: control.AnyRequest, timeout_s: float = ...) -> tuple[Any, bytes]: ...


class BadParameter(PenstockError):
    """A parameter of the query that is unknown, repeated or out of range."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"parameter {name!r}: {why}")
        self.name, self.why = name, why


class Api:
    """A WSGI application; handlers run in greenlets and may wait for the broker."""

    def __init__(
        self,
        call: Call,
        status: Callable[[], dict[str, Any]],
        history_max: int,
        publisher: Publisher,
        publish: Callable[[Draft], Outcome],
        *,
        publish_max_bytes: int,
        origins: Collection[str] = (),
    ) -> None:
        """
        Args:
            status: what this gateway counts, as JSON-able values.
            history_max: events that one answer holds at most.
            publish: what becomes of it; waits for the broker.
            publish_max_bytes: of a body that is published.
            origins: foreign origins whose pages may publish.
        """
        self._call = call
        self._status = status
        self._history_max = history_max
        self._publisher, self._submit = publisher, publish
        self._publish_max_bytes = publish_max_bytes
        self._origins = frozenset(origin.lower() for origin in origins)
        self._bodies_bytes = 0
        self._endpoints: dict[str, Callable[..., Response]] = {
            "topics": self.topics,
            "history": self.history,
            "status": self.status,
            "publish": self.publish,
            "websocket": self.websocket,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        response: Response = self._answer(request)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            endpoint, arguments = _ROUTES.bind_to_environ(request.environ).match()
            return self._endpoints[endpoint](request, **arguments)
        except NotFound:
            return _error(HTTPStatus.NOT_FOUND, "not_found", f"nothing at {request.path}")
        except MethodNotAllowed as error:
            allowed = ", ".join(sorted(error.valid_methods or ()))
            message = f"{request.method} is not for {request.path}, which takes {allowed}"
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "bad_method", message, Allow=allowed)
        except BadTopic as error:
            return _error(HTTPStatus.BAD_REQUEST, "bad_topic", str(error))
        except BadParameter as error:
            return _error(HTTPStatus.BAD_REQUEST, "bad_parameter", str(error))
        except ControlError as error:
            if error.code in ("timeout", "unavailable"):
                message = f"the broker is not heard: {error}"
                retry = {"Retry-After": str(RETRY_AFTER_S)}
                return _error(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message, **retry)
            return _error(HTTPStatus.BAD_GATEWAY, error.code, str(error))

    def topics(self, request: Request) -> Response:
        """`{"position": ..., "topics": [{"topic", "seq", "nth", "time"}], "more": false}`, by name."""
        given = _parameters(request, "pattern", "after", "limit")
        try:
            wanted = Pattern(given.get("pattern", "**"))
        except BadPattern as error:
            raise BadParameter("pattern", str(error)) from error
        if is_system(wanted.text):
            return _no_right(wanted.text)
        limit = _number(given, "limit", TOPICS_DEFAULT, TOPICS_MAX)
        asked = control.Topics(id=0, patterns=(wanted.text,), after=given.get("after", ""), limit=limit)
        page, _ = self._call(asked)
        return _json({"position": _position(page.at, page.at.head), "topics": page.topics, "more": page.more})

    def history(self, request: Request, topic: str) -> Response:
        """`{"position": ..., "recovered": true, "truncated": false, "events": [native objects]}`.

        Without `since` the newest events, at most `limit`. With it those after it, oldest first;
        where they are `truncated`, ask again with `since` = `position`. `recovered` is true only
        when nothing is missing between `since` and `position`.
        """
        given = _parameters(request, "since", "limit")
        check_topic(topic)
        if is_system(topic):
            return _no_right(topic)
        limit = _number(given, "limit", min(HISTORY_DEFAULT, self._history_max), self._history_max)
        is_recovered = True
        if "since" in given:
            try:
                since = Position.parse(given["since"])
            except BadPosition as error:
                raise BadParameter("since", str(error)) from error
            asked = control.Replay(id=0, patterns=(topic,), after=min(since.seq, _SEQ_MAX), limit=limit)
            page, records = self._call(asked)
            if since.epoch == page.at.epoch_number and since.seq <= page.at.head:
                is_recovered = _is_unbroken(page, since.seq)
                return _events_json(page, page.through, is_recovered, page.through < page.at.head, records)
            # That place is in no log of ours: what there is, and that it does not join on.
            is_recovered = False
        page, records = self._call(control.Last(id=0, patterns=(topic,), count=limit, limit=limit))
        is_recovered = is_recovered and not page.damaged
        return _events_json(page, page.at.head, is_recovered, page.truncated, records)

    def status(self, request: Request) -> Response:
        """`{"gateway": {...}, "broker": {...}}`; null for a broker that is not heard."""
        _parameters(request)
        try:
            page, _ = self._call(control.Status(id=0), timeout_s=STATUS_TIMEOUT_S)
        except ControlError:
            page = None
        return _json({"gateway": self._status(), "broker": page})

    def publish(self, request: Request, **_: str) -> Response:
        """`{"position": ...}`, with `"repeated": true` for a known key and the `"count"` of a batch."""
        get = request.headers.get
        if foreign := posting.maybe_foreign(get, self._origins):
            return _refused(self._noted(foreign))
        if request.method == "OPTIONS":
            response = Response(status=HTTPStatus.NO_CONTENT)
            response.headers.extend(posting.PREFLIGHT)
        else:
            found = self._publish(request)
            response = _refused(found) if isinstance(found, Refusal) else _json(found)
        response.headers.extend(posting.shared(get))
        return response

    def _publish(self, request: Request) -> dict[str, Any] | Refusal:
        environ, most = request.environ, self._publish_max_bytes
        # As it came: werkzeug would put a replacement for what is not UTF-8.
        path = environ["PATH_INFO"].encode("latin-1")
        post = posting.examine(path, environ["QUERY_STRING"], request.headers.get, most)
        if isinstance(post, Refusal):
            return self._noted(post)
        if forbidden := self._publisher.maybe_forbidden(post.topic):
            return posting.refusal(forbidden)
        parts: list[bytes] = []
        size = 0
        try:
            # Not beyond the first byte too much: it might be waited for.
            while part := environ["wsgi.input"].read(min(READ_BYTES, most + 1 - size)):
                parts.append(part)
                size += len(part)
                self._bodies_bytes += len(part)
                if size > most:
                    return self._noted(posting.too_large(most), post.topic)
                if self._bodies_bytes > BODIES_MAX_BYTES:
                    full = posting.too_many(BODIES_MAX_BYTES)
                    return posting.refusal(self._publisher.note(full, post.topic))
            draft = posting.draft(post, b"".join(parts))
            if isinstance(draft, Refusal):
                return self._noted(draft, post.topic)
            outcome = self._submit(draft)
        finally:
            self._bodies_bytes -= size
        if not isinstance(outcome, Published):
            return posting.refusal(outcome)
        repeated = {"repeated": True} if outcome.is_repeated else {}
        count = {"count": len(draft.payloads)} if post.is_batch else {}
        return {"position": outcome.position, **count, **repeated}

    def _noted(self, refusal: Refusal, topic: str = "") -> Refusal:
        self._publisher.note(Refused(refusal.code, refusal.message), topic)
        return refusal

    def websocket(self, request: Request, **_: str) -> Response:
        message = f"{request.path} is for WebSockets: ask for an upgrade"
        return _error(HTTPStatus.UPGRADE_REQUIRED, "upgrade_required", message, Upgrade="websocket")


def secured(application: Any) -> Any:
    """The same application, every answer with the headers that keep pages to themselves."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *SECURITY_HEADERS], exc_info)

        result: Iterable[bytes] = application(environ, start)
        return result

    return answer


_SEQ_MAX = (1 << 63) - 1


def _parameters(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters. Raises BadParameter: an unknown or repeated one."""
    for name, values in request.args.lists():
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "none is expected"
            raise BadParameter(name, f"unknown, {expected}")
        if len(values) > 1:
            raise BadParameter(name, "given more than once")
    return request.args.to_dict()


def _number(given: dict[str, str], name: str, default: int, largest: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= largest):
        raise BadParameter(name, f"{text[:20]!r} is no number from 1 to {largest}")
    return int(text)


def _is_unbroken(page: control.ReplayPage, since: int) -> bool:
    """Whether this page of one topic is all there was of it after `since`."""
    # Forgotten after `since` may be the whole topic, and another of its name have begun.
    return not page.damaged and not page.holes and page.at.forgotten <= since


def _position(at: control.Head, seq: int) -> str:
    return str(Position(at.epoch_number, seq))


def _events_json(
    page: control.ReplayPage | control.LastPage,
    seq: int,
    is_recovered: bool,
    is_truncated: bool,
    records: bytes,
) -> Response:
    head = _encode(
        {"position": _position(page.at, seq), "recovered": is_recovered, "truncated": is_truncated}
    )
    # The objects are bytes already; only what is around them is encoded here.
    return _response(b'%b,"events":[%b]}' % (head[:-1], b",".join(natives(Records(records)))), HTTPStatus.OK)


def _json(value: Any) -> Response:
    return _response(_encode(value), HTTPStatus.OK)


def _no_right(name: str) -> Response:
    return _error(
        HTTPStatus.FORBIDDEN, "forbidden", f"{name!r} is the system's own: it takes a right to read it"
    )


def _error(status: HTTPStatus, code: str, message: str, **headers: str) -> Response:
    response = _response(_encode({"error": {"code": code, "message": message}}), status)
    response.headers.extend(headers)
    return response


def _refused(refusal: Refusal) -> Response:
    return _error(refusal.status, refusal.code, refusal.message, **refusal.headers)


def _response(body: bytes, status: HTTPStatus) -> Response:
    response = Response(body, status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


_encode = msgspec.json.Encoder().encode
