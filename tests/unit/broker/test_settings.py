"""Where a setting comes from, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.errors import BadSetting
from broker.settings import BrokerSettings, RetentionRule, load


def of(env: Mapping[str, str], **overrides: object) -> BrokerSettings:
    return load(BrokerSettings, "broker", env=env, overrides=overrides)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "penstock.toml"


def test_works_with_nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert of({}) == BrokerSettings()


def test_the_nearer_source_wins(file: Path) -> None:
    file.write_text("[broker]\nkeep_events = 1\nkeep_s = 1\nforget_s = 1\n[gateway]\nport = 1\n")
    settings = of(
        {
            "PENSTOCK_CONFIG": str(file),
            "PENSTOCK_BROKER__KEEP_S": "2.5",
            "PENSTOCK_BROKER__FORGET_S": "2",
            "PENSTOCK_GATEWAY__ANY": "thing",
            "HOME": "/",
        },
        forget_s=3,
        topics_max=None,
    )
    assert (settings.keep_events, settings.keep_s, settings.forget_s) == (1, 2.5, 3)
    assert settings.topics_max == BrokerSettings().topics_max


def test_the_folder_s_own_file_is_found(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text('[broker]\nlog = "here.db"\n')
    assert of({}).log == "here.db"


def test_retention_rules_in_order(file: Path) -> None:
    file.write_text(
        '[[broker.retention]]\npattern = "a/**"\nevents = 5\n[[broker.retention]]\npattern = "**"\n'
    )
    expected = (RetentionRule(pattern="a/**", events=5), RetentionRule(pattern="**"))
    assert of({"PENSTOCK_CONFIG": str(file)}).retention == expected
    text = '[{"pattern": "a/**", "events": 5}, {"pattern": "**"}]'
    assert of({"PENSTOCK_BROKER__RETENTION": text}).retention == expected


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("KEEP_EVENT", "5", "PENSTOCK_BROKER__KEEP_EVENT: no such setting: did you mean .*KEEP_EVENTS"),
        ("XYZZY", "5", "no such setting: known are PENSTOCK_BROKER__INGEST, "),
        ("KEEP_EVENTS", "0", "PENSTOCK_BROKER__KEEP_EVENTS = '0': want a whole number from 1"),
        ("KEEP_EVENTS", "1.5", "want a whole number from 1"),
        ("KEEP_S", "soon", "want a number above 0"),
        ("PAYLOAD_MAX_BYTES", "1e9", "want a whole number from 1 to 67108864"),
        ("DURABILITY", "disk", "want one of memory, power, process"),
        ("FEED", "localhost:5556", "want text like .*tcp"),
        ("LOG", "", "length >= 1"),
        ("RETENTION", "[{}]", "pattern"),
        ("RETENTION", '[{"pattern": "a*"}]', "bad pattern 'a\\*'"),
        ("RETENTION", '[{"pattern": "a", "evnts": 1}]', "evnts"),
        ("RETENTION", "everything", "malformed"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(variable: str, value: str, told: str) -> None:
    with pytest.raises(BadSetting, match=told):
        of({f"PENSTOCK_BROKER__{variable}": value})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[broker]\n\nkeep_event = 5", r":3, \[broker\] keep_event: .*keep_events", id="a key"),
        pytest.param("\n[brokr]\nlog = 'x'", r":2, table \[brokr\]: .*did you mean broker", id="a table"),
        pytest.param("[broker]\nkeep_events = '5'", r":2, .* want a whole number from 1", id="a type"),
        pytest.param("broker = 5", r":1: \[broker\] is a table", id="no table"),
        pytest.param("[broker", "penstock.toml: ", id="no TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(BadSetting, match=told):
        of({"PENSTOCK_CONFIG": str(file)})


def test_a_file_that_is_named_must_be_there(file: Path) -> None:
    with pytest.raises(BadSetting, match="No such file"):
        of({"PENSTOCK_CONFIG": str(file)})


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(BadSetting, match="--keep-events = 0: want a whole number from 1"):
        of({}, keep_events=0)
