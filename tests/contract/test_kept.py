"""What every store keeps for gateways: the first value of a name, through restarts and kills, in bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from broker import shelf
from broker.backup import backup, restore
from broker.errors import CannotCommit, PayloadTooLarge
from broker.kept import NOTE_S, NOTED_AT_ONCE
from broker.log import Durability, Log
from tests.support.logs import Bench, bench, full_disk, put, read, read_only
from tests.support.power import Disk


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than four are kept."""
    monkeypatch.setattr(shelf, "KEPT_MAX", 4)


def keep(log: Log, *names: str) -> None:
    for name in names:
        assert log.kept.keep(name, name.encode()) == name.encode()


def kept(log: Log, *names: str) -> list[str]:
    return [name for name in names if log.kept.maybe(name) is not None]


def test_the_first_one_wins(on: Bench) -> None:
    assert on.log.kept.maybe("a") is None
    assert on.log.kept.keep("a", b"1") == b"1"
    assert on.log.kept.keep("a", b"2") == b"1"
    assert on.log.kept.maybe("a") == b"1"
    assert (len(on.log.kept), on.log.kept.size) == (1, 1)


def test_a_value_may_be_empty_and_has_a_limit(on: Bench) -> None:
    assert on.log.kept.keep("empty", b"") == b""
    assert on.log.kept.keep("empty", b"x") == b""
    most = b"x" * shelf.VALUE_MAX_BYTES
    with pytest.raises(PayloadTooLarge):
        on.log.kept.keep("a", most + b"x")
    assert on.log.kept.keep("a", most) == most


@pytest.mark.parametrize("ending", [Bench.again, Bench.killed, Bench.after_power_failure])
def test_it_is_there_after(on: Bench, ending: Callable[[Bench], Log], durability: Durability) -> None:
    keep(on.log, "a", "key:1")
    put(on.log, "topic")
    keep(on.log, "b")
    log = ending(on)
    assert kept(log, "a", "b", "key:1") == ([] if durability == "memory" else ["a", "b", "key:1"])
    keep(log, "c")
    assert len(log.kept) == (1 if durability == "memory" else 4)


def test_it_is_no_part_of_the_order_of_events(on: Bench) -> None:
    put(on.log, "a")
    keep(on.log, "a")
    put(on.log, "a")
    assert read(on.log) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("trouble", [full_disk, read_only])
def test_while_nothing_can_be_committed(on: Bench, trouble: Callable[[Log], Iterator[None]]) -> None:
    keep(on.log, "a")
    large = b"x" * 60_000
    with trouble(on.log):  # type: ignore[attr-defined]  # they are context managers
        with pytest.raises(CannotCommit):
            on.log.kept.keep("b", large)
        # What changes nothing is answered all the same.
        assert on.log.kept.keep("a", b"2") == b"a"
        assert kept(on.log, "a", "b") == ["a"]
    assert on.log.kept.keep("b", large) == large
    assert on.log.kept.size == len(large) + 1


@pytest.mark.usefixtures("four")
def test_the_longest_unused_goes_first_and_secrets_last(
    on: Bench, durability: Durability, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keep(on.log, "key:1", "a", "b", "c")
    on.log.kept.maybe("a")
    on.log.kept.keep("b", b"b")
    keep(on.log, "d", "e")
    assert "forgot kept=1, the last of them name=c" in caplog.text
    for log in (on.log, on.log if durability == "memory" else on.again()):
        assert kept(log, "key:1", "a", "b", "c", "d", "e") == ["key:1", "b", "d", "e"]


@pytest.mark.usefixtures("four")
def test_nothing_goes_for_one_that_cannot_be_committed(on: Bench) -> None:
    keep(on.log, "a", "b", "c", "d")
    with read_only(on.log), pytest.raises(CannotCommit):
        on.log.kept.keep("e", b"e")
    assert kept(on.log, "a", "b", "c", "d") == ["a", "b", "c", "d"]


def test_all_together_have_a_limit(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "KEPT_MAX_BYTES", 100)
    for name in "abcd":
        on.log.kept.keep(name, b"x" * 30)
    assert (kept(on.log, *"abcd"), on.log.kept.size) == (["b", "c", "d"], 90)


@pytest.mark.usefixtures("four")
def test_the_order_of_use_outlives_a_kill(on_disk: Bench) -> None:
    keep(on_disk.log, "a", "b", "c", "d")
    on_disk.wait(NOTE_S)
    on_disk.log.kept.maybe("a")
    on_disk.wait(1)
    log = on_disk.killed()
    keep(log, "e", "f")
    assert kept(log, "a", "b", "c", "d", "e", "f") == ["a", "d", "e", "f"]


def numbers(log: Log) -> list[int]:
    return [number for number, _ in log._store.kept()]


def test_a_use_is_written_now_and_then_only(on: Bench) -> None:
    keep(on.log, "a", "b")
    for _ in range(3):
        on.log.kept.maybe("a")
        on.wait(1)
    assert numbers(on.log) == [1, 2]
    on.wait(NOTE_S)
    for _ in range(3):
        on.log.kept.maybe("a")
        on.wait(1)
    assert numbers(on.log) == [2, 3]


def test_uses_are_written_in_bounded_pieces_also_after_trouble(on: Bench) -> None:
    names = [f"name-{number}" for number in range(NOTED_AT_ONCE + 1)]
    keep(on.log, *names)
    on.wait(NOTE_S)
    assert kept(on.log, *names) == names
    with read_only(on.log), pytest.raises(CannotCommit):
        on.log.kept.note_uses()
    assert [on.log.kept.note_uses() for _ in range(3)] == [True, True, False]
    assert numbers(on.log) == list(range(len(names) + 1, 2 * len(names) + 1))
    assert kept(on.log, *names) == names


@pytest.mark.usefixtures("four")
def test_one_that_has_gone_is_not_written_for_its_use(on: Bench) -> None:
    keep(on.log, "a", "b", "c", "d")
    on.wait(NOTE_S)
    on.log.kept.maybe("a")
    for name in "bcd":
        on.log.kept.maybe(name)
    keep(on.log, "e")
    on.wait(1)
    assert (kept(on.log, *"abcde"), len(numbers(on.log))) == (["b", "c", "d", "e"], 4)


@pytest.mark.parametrize(
    ("durability", "left"),
    [
        pytest.param("process", ["key:1"], id="process"),
        pytest.param("power", ["key:1", "set:1"], id="power"),
    ],
)
def test_a_secret_outlives_a_power_cut(tmp_path: Path, durability: Durability, left: list[str]) -> None:
    disk, made = Disk(tmp_path, Random(1)), Bench(tmp_path / "log.db", durability)
    with disk.in_use():
        keep(made.open(), "key:1", "set:1")
        disk.cut()
        made.log.abandon()
    disk.come_back("nothing")  # of all that was not synced
    made.boot_id += "+1"
    try:
        assert kept(made.open(), "key:1", "set:1") == left
    finally:
        made.end()


def test_a_copy_has_it(on_disk: Bench, tmp_path: Path) -> None:
    """A client that comes with a position of the log that was is known by its set, and told of a gap."""
    keep(on_disk.log, "a", "key:1")
    assert backup(on_disk.path, tmp_path / "copy.db").kept == 2
    keep(on_disk.log, "b")
    on_disk.log.close()
    assert restore(on_disk.path, tmp_path / "copy.db", is_forced=True).kept == 2
    log = on_disk.open()
    assert (log.epoch, kept(log, "a", "b", "key:1")) == (2, ["a", "key:1"])
