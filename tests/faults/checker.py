"""What clients got, held against what the log keeps and what producers were promised. Pure.

The log is the truth of what there is and in which order; what a producer was promised must be in it,
once and in the producer's order. A client must have everything of its pattern beyond the place from
which it follows, once and in order, or a gap that covers it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from broker.topics import Pattern
from broker.wire import Position
from tests.faults.journal import Gap, Journal, Kept, Seen, Story


class Report(Struct):
    """What is wrong, in events; all zero but the last two is as it should be."""

    lost: int = 0  # due, not there, and nobody said so
    duplicated: int = 0
    reordered: int = 0
    falsely_confirmed: int = 0  # promised to a producer, and not in the log
    phantom: int = 0  # not whole, or not what the log has in that place
    gaps: int = 0  # told
    excused: int = 0  # due, not there, and covered by a gap

    @property
    def is_clean(self) -> bool:
        wrong = (self.lost, self.duplicated, self.reordered, self.falsely_confirmed, self.phantom)
        return not any(wrong)

    def __add__(self, other: Report) -> Report:
        return Report(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


def check_log(kept: Sequence[Kept], confirmed: Mapping[str, int]) -> Report:
    """The log itself.

    Args:
        kept: all of it, in its order.
        confirmed: of each producer, the number up to which it was promised that its events are logged.
    """
    report = Report()
    numbers: dict[str, set[int]] = defaultdict(set)
    newest: dict[str, int] = defaultdict(int)
    for event in kept:
        if event.number in numbers[event.producer]:
            report.duplicated += 1
        elif event.number < newest[event.producer]:
            report.reordered += 1
        numbers[event.producer].add(event.number)
        newest[event.producer] = max(newest[event.producer], event.number)
    for producer, upto in confirmed.items():
        report.falsely_confirmed += len(set(range(1, upto + 1)) - numbers[producer])
    return report


def check_clients(kept: Sequence[Kept], journal: Journal, *, allow_unlogged: bool = False) -> list[Report]:
    """One report a client, in the journal's order.

    Args:
        allow_unlogged: an event that the log does not have is no phantom as long as it is whole: it went
            out while the log could not be written.
    """
    found: dict[tuple[str, str, tuple[int, ...]], Report] = {}  # most have got the very same
    by_seq = {event.at.seq: event for event in kept}
    reports = []
    for client in journal.clients:
        key = client.pattern, client.since, tuple(client.entries)
        if key not in found:
            found[key] = _check_client(kept, by_seq, journal, client, allow_unlogged)
        reports.append(found[key])
    return reports


def total(reports: Iterable[Report]) -> Report:
    return sum(reports, Report())


def _check_client(
    kept: Sequence[Kept], by_seq: Mapping[int, Kept], journal: Journal, client: Story, allow_unlogged: bool
) -> Report:
    report = Report()
    gaps = list[Covered]()
    had: set[tuple[int, int]] = set()
    numbers: set[tuple[str, int, str]] = set()
    newest: dict[str, int] = defaultdict(int)
    epoch = seq = 0
    for entry in client.entries:
        if entry < 0:
            gaps.append(Covered(journal.gaps[-1 - entry]))
            continue
        event = journal.events[entry]
        if event.epoch != epoch:
            epoch, seq = event.epoch, 0
        place = event.epoch, event.seq
        if place in had or event.identity in numbers:
            report.duplicated += 1
        elif event.seq < seq or event.number < newest[event.producer]:
            report.reordered += 1
        if not event.is_whole or not _is_kept(event, by_seq, allow_unlogged):
            report.phantom += 1
        had.add(place)
        numbers.add(event.identity)
        seq = max(seq, event.seq)
        newest[event.producer] = max(newest[event.producer], event.number)
    report.gaps = len(gaps)
    wanted = Pattern(client.pattern)
    topics = {event.topic for event in kept}
    matches = {topic: wanted.matches(topic) for topic in topics}
    excuses = {topic: [gap for gap in gaps if gap.pattern.matches(topic)] for topic in topics}
    since = Position.parse(client.since) if client.since else None
    for due in kept:
        if not matches[due.topic] or due.identity in numbers:
            continue
        if since is not None and since.epoch == due.at.epoch and due.at.seq <= since.seq:
            continue
        if any(gap.covers(due.at) for gap in excuses[due.topic]):
            report.excused += 1
        else:
            report.lost += 1
    return report


class Covered:
    """What a gap tells, to be asked of many events."""

    def __init__(self, gap: Gap) -> None:
        self.pattern = Pattern(gap.pattern)
        self._after, self._before = Position.parse(gap.after), Position.parse(gap.before)

    def covers(self, at: Position) -> bool:
        """Whether it tells that an event of its pattern in that place is missing."""
        after, before = self._after, self._before
        if after.epoch == before.epoch:
            return at.epoch == after.epoch and after.seq < at.seq < before.seq
        return (at.epoch == after.epoch and at.seq > after.seq) or (
            at.epoch == before.epoch and at.seq < before.seq
        )


def _is_kept(event: Seen, by_seq: Mapping[int, Kept], allow_unlogged: bool) -> bool:
    found = by_seq.get(event.seq)
    if found is None or found.at.epoch != event.epoch:
        return allow_unlogged
    return found.identity == event.identity
