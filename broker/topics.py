"""Topics name events, patterns choose topics. Pure.

A topic is UTF-8, 1 to 255 bytes, segments joined by `/`; no empty segment, no `.` or `..`, no
control character, no white space, no `*`. Topics whose first segment starts with `$` are the
system's own. A pattern is a topic in which `*` may stand for one whole segment, and a last segment
`**` for one or more; a wildcard in first place matches no `$` topic.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from broker.errors import BadPattern, BadTopic

MAX_TOPIC_BYTES = 255
DEFAULT_TOPIC = "default"
SYSTEM = "$"


def check_topic(name: str | bytes) -> str:
    """The topic as text.

    Raises:
        BadTopic: `why` names the rule it breaks.
    """
    if isinstance(name, bytes):
        raw = name
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            raise BadTopic(raw.decode(errors="backslashreplace"), "not UTF-8") from None
    if why := _fault(name):
        raise BadTopic(name, why)
    if "*" in name:
        raise BadTopic(name, "'*' belongs to patterns")
    return name


def is_system(topic: str) -> bool:
    return topic.startswith(SYSTEM)


def _fault(name: str) -> str | None:
    """The rule that a topic or pattern breaks, None for a sound one."""
    if not name:
        return "empty"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "not UTF-8"
    if size > MAX_TOPIC_BYTES:
        return f"{size} bytes, at most {MAX_TOPIC_BYTES} are allowed"
    for segment in name.split("/"):
        if not segment:
            return "empty segment"
        if segment in (".", ".."):
            return f"segment {segment!r}"
    for char in name:
        if char.isspace():
            return f"white space {char!r}"
        if unicodedata.category(char) == "Cc":
            return f"control character {char!r}"
    return None


class Pattern:
    """A sound pattern. Equal patterns are equal, hash alike, and are cheap to make again."""

    __slots__ = ("_match", "is_literal", "prefix", "text")

    def __init__(self, text: str) -> None:
        """Raises BadPattern, with the rule that `text` breaks."""
        if why := _fault(text):
            raise BadPattern(text, why)
        segments = text.split("/")
        literal: list[str] = []
        expression = ""
        for place, segment in enumerate(segments):
            if segment == "**" and place < len(segments) - 1:
                raise BadPattern(text, "'**' may only be the last segment")
            if "*" in segment and segment not in ("*", "**"):
                raise BadPattern(text, f"'*' stands for a whole segment, not a part of {segment!r}")
            if segment in ("*", "**"):
                # A wildcard in first place must not reach the system's own topics.
                guard = r"(?!\$)" if place == 0 else ""
                expression += guard + ("[^/]+" if segment == "*" else ".+")
            else:
                if len(literal) == place:
                    literal.append(segment)
                expression += re.escape(segment)
            expression += "/" if place < len(segments) - 1 else ""
        self.text = text
        self.is_literal = len(literal) == len(segments)
        # What is sent upstream: ZeroMQ matches prefixes of bytes, the receiver compares whole names.
        self.prefix = text if self.is_literal else "".join(segment + "/" for segment in literal)
        self._match = re.compile(expression, re.DOTALL).fullmatch

    def matches(self, topic: str) -> bool:
        return topic == self.text if self.is_literal else self._match(topic) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


@lru_cache(maxsize=65536)
def pattern(text: str) -> Pattern:
    """The pattern of that text, shared. Raises BadPattern."""
    return Pattern(text)
