"""What a WebSocket at /raw/<topic> wants: from its path and query to a subscription or a named no. Pure."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from broker.errors import BadTopic
from broker.topics import check_topic, is_system, pattern
from gateway.delivery import BadDelivery, in_query
from gateway.protocol import Subscribe
from gateway.upgrade import Refusal

PATH = "/raw/"


def wanted(path: str, query: str, history_max: int) -> Subscribe | Refusal:
    """`?history=N&delivery=latest`, both optional; other parameters are nobody's here."""
    try:
        topic = check_topic(path.removeprefix(PATH))
    except BadTopic as error:
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_topic", str(error))
    if is_system(topic):
        message = "reading the system's own topics is not allowed here"
        return Refusal(HTTPStatus.FORBIDDEN, "forbidden", message)
    given = parse_qs(query, keep_blank_values=True)
    histories = given.get("history", ["0"])
    history = histories[0]
    if len(histories) > 1 or not (
        history.isascii() and history.isdigit() and len(history) < 10 and int(history) <= history_max
    ):
        return _bad(f"history: want an integer from 0 to {history_max}")
    deliveries = given.get("delivery", ["all"])
    if len(deliveries) > 1:
        return _bad("delivery: given more than once")
    try:
        wished = in_query(deliveries[0])
    except BadDelivery as error:
        return _bad(f"delivery: {error}")
    return Subscribe(0, frozenset({pattern(topic)}), int(history), delivery=wished)


def _bad(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_parameter", message)
