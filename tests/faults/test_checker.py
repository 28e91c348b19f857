"""The checker sees each kind of wrong, and nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker.wire import Position
from tests.faults.browser import Book, Browser, frames, text_frame
from tests.faults.checker import Report, check_clients, check_log, total
from tests.faults.journal import Gap, Journal, Kept, Seen, Story
from tests.faults.numbered import GARBLED, payload, read, topic_of
from tests.faults.verdict import Measure, Verdict, table
from tests.support.events import EPOCH, OTHER_EPOCH

TOPICS = 2


def kept(*numbers: int, seqs: Sequence[int] = ()) -> list[Kept]:
    """The log, with these events of one producer; the seq of each is its number unless given."""
    places = seqs or numbers
    return [
        Kept(Position(EPOCH, seq), topic_of("load", number, TOPICS), "p", number)
        for seq, number in zip(places, numbers, strict=True)
    ]


def seen(number: int, seq: int = 0, *, epoch: int = EPOCH, is_whole: bool = True) -> Seen:
    return Seen(epoch, seq or number, topic_of("load", number, TOPICS), "p", number, 0, is_whole)


def client(*entries: Seen | Gap, since: int = 0, pattern: str = "load/*") -> Journal:
    """One that was told this, from that place on."""
    journal = Journal(clients=[Story(pattern=pattern, since=str(Position(EPOCH, since)))])
    for entry in entries:
        if isinstance(entry, Gap):
            journal.gaps.append(entry)
            journal.clients[0].entries.append(-len(journal.gaps))
        else:
            journal.events.append(entry)
            journal.clients[0].entries.append(len(journal.events) - 1)
    return journal


def gap(after: int, before: int, *, pattern: str = "load/*", epochs: tuple[int, int] = (EPOCH, EPOCH)) -> Gap:
    return Gap(pattern, str(Position(epochs[0], after)), str(Position(epochs[1], before)), "retention")


ALL = [seen(1), seen(2), seen(3)]


@pytest.mark.parametrize(
    ("journal", "report"),
    [
        pytest.param(client(*ALL), Report(), id="all of it"),
        pytest.param(client(*ALL[1:], since=1), Report(), id="all beyond its place"),
        pytest.param(client(seen(2), pattern="load/0"), Report(), id="all of its pattern"),
        pytest.param(client(seen(1), seen(2)), Report(lost=1), id="the last one is missing"),
        pytest.param(client(seen(1), seen(3)), Report(lost=1), id="one in the middle is missing"),
        pytest.param(client(), Report(lost=3), id="it was told nothing"),
        pytest.param(client(seen(1), gap(1, 3), seen(3)), Report(gaps=1, excused=1), id="missing, and told"),
        pytest.param(client(seen(1), gap(1, 2), seen(3)), Report(gaps=1, lost=1), id="told too little"),
        pytest.param(
            client(seen(1), gap(1, 3, pattern="load/1"), seen(3)),
            Report(gaps=1, lost=1),
            id="told of another topic",
        ),
        pytest.param(
            client(gap(7, 3, epochs=(OTHER_EPOCH, EPOCH)), seen(3)),
            Report(gaps=1, excused=2),
            id="told from another epoch on",
        ),
        pytest.param(client(*ALL, seen(3)), Report(duplicated=1), id="one twice"),
        pytest.param(client(*ALL, seen(2)), Report(duplicated=1), id="an older one again"),
        pytest.param(client(seen(2), seen(1), seen(3)), Report(reordered=1), id="two in the wrong order"),
        pytest.param(client(*ALL[:2], seen(3, is_whole=False)), Report(phantom=1), id="not what was sent"),
        pytest.param(client(*ALL, seen(4)), Report(phantom=1), id="not in the log"),
        pytest.param(client(*ALL[:2], seen(3, 4)), Report(phantom=1), id="in another place"),
    ],
)
def test_what_a_client_got_is_held_against_the_log(journal: Journal, report: Report) -> None:
    assert check_clients(kept(1, 2, 3), journal) == [report]
    assert report.is_clean is not any((report.lost, report.duplicated, report.reordered, report.phantom))


def test_one_that_never_had_an_answer_has_lost_everything() -> None:
    journal = Journal(clients=[Story(pattern="load/*")])
    assert check_clients(kept(1, 2), journal) == [Report(lost=2)]


def test_what_went_out_unlogged_is_no_phantom_where_that_is_expected() -> None:
    journal = client(*ALL, seen(4))
    assert check_clients(kept(1, 2, 3), journal, allow_unlogged=True) == [Report()]


def test_reports_are_for_each_client_and_add_up() -> None:
    journal = client(*ALL)
    journal.clients.append(Story(pattern="load/*", since=journal.clients[0].since, entries=[0, 0]))
    reports = check_clients(kept(1, 2, 3), journal)
    assert reports == [Report(), Report(lost=2, duplicated=1)]
    assert total(reports) == Report(lost=2, duplicated=1)


@pytest.mark.parametrize(
    ("log", "confirmed", "report"),
    [
        pytest.param(kept(1, 2, 3), 3, Report(), id="all that was promised"),
        pytest.param(kept(1, 2, 3), 1, Report(), id="more than was promised"),
        pytest.param(kept(1, 3), 3, Report(falsely_confirmed=1), id="less"),
        pytest.param(kept(1, 2, 2, seqs=[1, 2, 3]), 2, Report(duplicated=1), id="one twice"),
        pytest.param(kept(2, 1, seqs=[1, 2]), 2, Report(reordered=1), id="in another order"),
    ],
)
def test_the_log_is_held_against_what_was_promised(log: list[Kept], confirmed: int, report: Report) -> None:
    assert check_log(log, {"p": confirmed}) == report


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        pytest.param("load/2", payload("p", 1, "load/1", 5), id="on another topic"),
        pytest.param("load/1", payload("p", 1, "load/1", 5).replace(b'"n":1', b'"n":2'), id="another number"),
        pytest.param("load/1", payload("p", 1, "load/1", 5, "xx").replace(b"xx", b"xy"), id="another filler"),
        pytest.param("load/1", b"{}", id="none of ours"),
    ],
)
def test_a_payload_that_was_changed_shows_it(topic: str, data: bytes) -> None:
    assert read("load/1", payload("p", 1, "load/1", 5)) == ("p", 1, 5, True)
    assert not read(topic, data).is_whole
    assert read("load/1", b"{}") == GARBLED


# What clients write down


def told(*objects: str) -> bytes:
    return "\n".join(objects).encode()


def event(number: int, history: int | None = None) -> str:
    topic = topic_of("load", number, TOPICS)
    tag = "" if history is None else f'"history":{history},'
    return f'{{{tag}"topic":"{topic}","seq":{number},"data":{payload("p", number, topic, 7).decode()}}}'


def welcome(seq: int = 0) -> bytes:
    return told(f'{{"welcome":{{"position":"{EPOCH:016x}.{seq}"}}}}')


def reply(seq: int) -> bytes:
    return told(f'{{"reply":1,"ok":{{"position":"{EPOCH:016x}.{seq}","recovered":true}}}}')


@pytest.fixture
def book() -> Book:
    return Book()


def browser(book: Book, *, resumes: bool = True, history: int = 0) -> Browser:
    return Browser(book, "load/*", "", history, resumes=resumes)


def test_a_browser_goes_on_where_it_was(book: Book) -> None:
    one = browser(book)
    assert one.receive(welcome(), 1) == text_frame('{"subscribe":"load/*","id":1}')
    one.receive(reply(0), 2)
    one.receive(told(event(1), event(2)), 3)
    one.is_lost(4, 1006, "", was_silent=False)
    asked = text_frame(f'{{"subscribe":"load/*","id":1,"since":"{EPOCH:016x}.2"}}')
    assert one.receive(welcome(3), 5) == asked
    one.receive(told(event(3, history=1)), 6)
    one.receive(reply(3), 7)
    assert [book.journal.events[entry].number for entry in one.story.entries] == [1, 2, 3]
    (lost,) = one.story.breaks
    assert (lost.lost_ns, lost.back_ns, lost.position) == (4, 7, f"{EPOCH:016x}.2")
    assert check_clients(kept(1, 2, 3), book.journal) == [Report()]


def test_a_forgetful_one_subscribes_afresh_and_the_checker_sees_it(book: Book) -> None:
    one = browser(book, resumes=False)
    for frame in (welcome(), reply(0), told(event(1))):
        one.receive(frame, 1)
    one.is_lost(2, 1006, "", was_silent=False)
    assert one.receive(welcome(2), 3) == text_frame('{"subscribe":"load/*","id":1}')
    one.receive(reply(2), 4)
    one.receive(told(event(3)), 5)
    assert check_clients(kept(1, 2, 3), book.journal) == [Report(lost=1)]


def test_a_past_without_its_reply_is_asked_again_and_counts_once(book: Book) -> None:
    one = browser(book, history=5)
    asked = one.receive(welcome(), 1)
    one.receive(told(event(1, history=1)), 2)
    one.is_lost(3, 1006, "", was_silent=True)
    assert one.receive(welcome(), 4) == asked
    one.receive(told(event(1, history=1), event(2, history=1)), 5)
    one.receive(reply(2), 6)
    assert [book.journal.events[entry].number for entry in one.story.entries] == [1, 2]
    assert one.story.breaks == []  # it had not followed yet


def test_equal_frames_are_read_once(book: Book) -> None:
    clients = [browser(book) for _ in range(3)]
    for each in clients:
        for frame in (welcome(), reply(0), told(event(1), event(2))):
            each.receive(frame, 1)
    assert len(book.journal.events) == 2
    assert [each.story.entries for each in clients] == [[0, 1]] * 3


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_found_wherever_a_read_cuts_them(size: int) -> None:
    if size < 126:
        head = bytes([0x81, size])
    elif size <= 0xFFFF:
        head = bytes([0x81, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x81, 127]) + size.to_bytes(8, "big")
    frame = head + bytes(size)
    assert [(first, len(found)) for first, found, _ in frames(frame * 2)] == [(0x81, size)] * 2
    for cut in {1, len(head) - 1, len(frame) - 1}:
        assert [end for _, _, end in frames(frame + frame[:cut])] == [len(frame)]


# What is said of it


def verdict(**fields: object) -> Verdict:
    return Verdict("F1", "a fault", 1, **fields)  # type: ignore[arg-type]  # passed on as they are


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(verdict(), [], id="clean"),
        pytest.param(verdict(report=Report(gaps=3, excused=9)), [], id="told gaps are no fault"),
        pytest.param(verdict(report=Report(lost=2, phantom=1)), ["lost 2", "phantom 1"], id="lost"),
        pytest.param(verdict(report=Report(lost=2), is_control=True), [], id="lost in a control run"),
        pytest.param(verdict(broken=["no flow"]), ["no flow"], id="a fact that is none"),
        pytest.param(verdict(measures=[Measure("back", 3, "s", 3)]), [], id="in time"),
        pytest.param(verdict(measures=[Measure("back", 4, "s", 3)]), ["back 4 s (<= 3)"], id="too late"),
        pytest.param(verdict(measures=[Measure("back", 4, "s")]), [], id="nothing is asked of it"),
    ],
)
def test_a_verdict_holds_or_says_why_not(found: Verdict, why: list[str]) -> None:
    assert found.why() == why
    assert found.holds is (why == [])


def test_the_table_has_a_line_a_row_with_sums_and_the_worst() -> None:
    runs = [
        verdict(report=Report(gaps=2), back_s=1.0, measures=[Measure("p99", 5, "ms", 9)]),
        verdict(report=Report(lost=1), back_s=2.5, measures=[Measure("p99", 7, "ms", 9)]),
        Verdict("F13", "clocks", 1, left_out="no faketime"),
    ]
    head, first, second = (" ".join(line.split()) for line in table(runs))
    assert head.startswith("row held lost dup reordered")
    assert first == "F1 1 of 2 1 0 0 0 0 2 2.5 p99 7 ms (<= 9)"
    assert second == "F13 left out no faketime"
