"""Every error Penstock raises, one class for each thing a caller can do about it.

PenstockError
├── BadTopic, BadPattern          a name that is not one: mend the name
├── BadPosition                   a text that is not `epoch.seq`
├── MalformedFrames               a peer sent bytes that are no event: drop, count by `reason`, go on
│   └── PayloadTooLarge           more bytes than the limit
├── BadPayload                    data that cannot be sent as JSON or text: mend it
├── PublishTimeout                the broker takes nothing now: publish again later
│   └── NotConfirmed              what was published is not confirmed yet: wait on, do not publish it again
├── Fenced                        another program publishes under this producer's id: end
├── LogLost                       the log has lost events that were confirmed: go on after its `last`
├── BadSetting                    a setting unknown or out of range: mend the configuration
├── AddressInUse                  somebody else listens there
├── LogError                      the log cannot be used as it is
│   ├── LogHeld                   another broker has it
│   ├── ForeignLog                the file is not a log of ours
│   ├── CannotCommit              it takes no more just now: disk full, read-only
│   └── CorruptChunk              a stretch of it does not match its checksum
└── ControlError                  a control request was refused, with its `code`
    ├── ControlUnsent             or has not left: the broker knows nothing of it
    └── ControlTimeout            or was not answered in time
"""


class PenstockError(Exception):
    """Root of every error raised here; caught whole only in a `__main__`."""


class BadTopic(PenstockError):
    """Not a topic; `why` names the rule it breaks."""

    def __init__(self, topic: str, why: str) -> None:
        shown = topic if len(topic) <= 60 else topic[:57] + "..."
        super().__init__(f"bad topic {shown!r}: {why}")
        self.topic, self.why = topic, why


class BadPattern(PenstockError):
    """Not a pattern; `why` names the rule it breaks."""

    def __init__(self, pattern: str, why: str) -> None:
        shown = pattern if len(pattern) <= 60 else pattern[:57] + "..."
        super().__init__(f"bad pattern {shown!r}: {why}")
        self.pattern, self.why = pattern, why


class BadPosition(PenstockError):
    """Not a position: those are 16 hex digits, a dot and a decimal number."""

    def __init__(self, text: str) -> None:
        super().__init__(f"bad position {text[:60]!r}: want 16 hex digits, a dot, a decimal seq")
        self.text = text


class MalformedFrames(PenstockError):
    """A peer sent bytes that are not an event: drop them, count them by `reason`, go on."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class PayloadTooLarge(MalformedFrames):
    """More payload bytes than the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("payload_too_large", f"{size} bytes, at most {limit} are taken")
        self.size, self.limit = size, limit


class BadPayload(PenstockError):
    """Data that cannot be sent as JSON or text; `why` names the place and the rule."""

    def __init__(self, why: str) -> None:
        super().__init__(f"bad payload: {why}")
        self.why = why


class PublishTimeout(PenstockError):
    """A publisher that waits is full and the broker took nothing in time: nothing was sent, try again."""

    def __init__(self, address: str, seconds: float, text: str = "") -> None:
        super().__init__(text or f"the broker at {address} took nothing for {seconds:g} s: not sent")
        self.address, self.seconds = address, seconds


class NotConfirmed(PublishTimeout):
    """The broker has not confirmed `count` events in time; `why`, if that is known. They are still held."""

    def __init__(self, address: str, seconds: float, count: int, why: str) -> None:
        events = "1 event" if count == 1 else f"{count} events"
        within = f" within {seconds:g} s" if seconds else ""
        reason = why or "no answer yet"
        super().__init__(
            address, seconds, f"{events} not confirmed by the broker at {address}{within}: {reason}"
        )
        self.count, self.why = count, why


class Fenced(PenstockError):
    """Another program has taken the producer's id: nothing more of this one is logged."""

    def __init__(self, producer: str, why: str) -> None:
        super().__init__(f"fenced: {why}")
        self.producer, self.why = producer, why


class LogLost(PenstockError):
    """The log began anew, or power failed: of a producer's `confirmed` events it has `last` left."""

    def __init__(self, producer: str, confirmed: int, last: int) -> None:
        super().__init__(
            f"the log has {last} events of producer {producer!r} where it had confirmed {confirmed}: "
            "go on after the last one, with a new Publisher"
        )
        self.producer, self.confirmed, self.last = producer, confirmed, last


class BadSetting(PenstockError):
    """A setting that is unknown or out of range; the text says which and what is allowed."""


class AddressInUse(PenstockError):
    """Somebody else listens where we were told to."""

    def __init__(self, address: str, setting: str) -> None:
        super().__init__(
            f"{address} is in use: stop the process that listens there, or set {setting} to another address"
        )
        self.address, self.setting = address, setting


class LogError(PenstockError):
    """The log cannot be used as it is."""


class LogHeld(LogError):
    """Another broker has the log open."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(
            f"the log {path} is held by {holder}: one broker a log; "
            "stop that one, or set PENSTOCK_BROKER__LOG to another file"
        )
        self.path, self.holder = path, holder


class ForeignLog(LogError):
    """The file is not a log of ours, or of a newer version."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path} is not a Penstock log ({why}): move it away, or set PENSTOCK_BROKER__LOG to another file"
        )
        self.path, self.why = path, why


class CannotCommit(LogError):
    """The log cannot take events just now: the disk is full, or has become read-only."""

    def __init__(self, path: str, why: str) -> None:
        remedy = "make room on the disk"
        if "malformed" in why:
            remedy = "it is damaged: put a backup in its place with `penstock log restore`"
        elif "full" not in why:
            remedy = "see that the disk is sound and the file may be written"
        super().__init__(f"cannot write to the log {path} ({why}): {remedy}")
        self.path, self.why = path, why


class CorruptChunk(LogError):
    """A stretch of the log, from seq `first` to seq `last`, does not match its checksum."""

    def __init__(self, first: int, last: int, why: str) -> None:
        super().__init__(f"the log is damaged from seq {first} to {last}: {why}")
        self.first, self.last = first, last


class ControlError(PenstockError):
    """A control request was refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ControlUnsent(ControlError):
    """A control request has not left, and never will: ask again."""

    def __init__(self, address: str) -> None:
        super().__init__("unavailable", f"the broker at {address} takes no requests")


class ControlTimeout(ControlError):
    """A control request was not answered within its deadline."""

    def __init__(self, address: str, seconds: float) -> None:
        super().__init__("timeout", f"no answer from the broker at {address} within {seconds:g} s")
