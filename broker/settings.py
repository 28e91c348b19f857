"""Settings of every process: one frozen Struct a section, and the loader they share. Pure but for the file.

Flags over the environment (`PENSTOCK_BROKER__LOG`) over a TOML file (`PENSTOCK_CONFIG`, else
./penstock.toml, else /etc/penstock/penstock.toml; a table a section) over defaults.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import Meta, Struct, inspect

from broker.errors import BadPattern, BadSetting
from broker.topics import Pattern

SECTIONS = ("broker", "gateway", "producer")
FILES = (Path("penstock.toml"), Path("/etc/penstock/penstock.toml"))
S = TypeVar("S", bound=Struct)

Address = Annotated[str, Meta(pattern=r"^(tcp|ipc)://.+$")]
Events = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Messages = Annotated[int, Meta(ge=1, le=10_000_000)]


class RetentionRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of the topics that match `pattern`, instead of the defaults."""

    pattern: str
    events: Events = 1_000
    age_s: Seconds = 86_400.0

    def __post_init__(self) -> None:
        try:
            Pattern(self.pattern)
        except BadPattern as error:
            raise ValueError(str(error)) from error


class BrokerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ingest: Address = "tcp://127.0.0.1:5555"
    push: Address = "tcp://127.0.0.1:5558"
    control: Address = "tcp://127.0.0.1:5557"
    feed: Address = "tcp://127.0.0.1:5556"
    admin: Annotated[str, Meta(pattern=r"^.+:\d{1,5}$")] = "127.0.0.1:9100"  # health and metrics
    log: Annotated[str, Meta(min_length=1)] = "run/penstock.log.db"
    durability: Literal["power", "process", "memory"] = "process"
    payload_max_bytes: Annotated[int, Meta(ge=1, le=64 << 20)] = 1 << 20
    keep_events: Events = 1_000  # of each topic
    keep_s: Seconds = 86_400.0
    keep_bytes: Annotated[int, Meta(ge=1 << 20)] = 1 << 30  # of the whole log
    forget_s: Seconds = 7 * 86_400.0  # a topic silent for so long is forgotten whole
    topics_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    retention: tuple[RetentionRule, ...] = ()  # the first that matches a topic counts
    ingest_high_water: Messages = 100_000  # messages of one PUB that wait to be taken in
    feed_high_water: Messages = 100_000  # messages that wait for one subscriber; beyond, it loses some


def load(
    cls: type[S],
    section: str,
    *,
    env: Mapping[str, str],
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> S:
    """The settings of a section.

    Args:
        env: the process's environment.
        path: a TOML file; without it the ones named above are looked for.
        overrides: flags by field name; None stands for a flag not given.
    Raises:
        BadSetting: unknown or out of range; names the variable, or file and line, and what is allowed.
    """
    names = cls.__struct_fields__
    types = get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    file, text, table = _read_table(section, env, path)
    for key, value in table.items():
        source = f"{file}{_line(text, key)}, [{section}] {key}"
        _check_known(key, names, source)
        values[key] = _convert(value, types[key], source)
    start = f"PENSTOCK_{section.upper()}__"
    for variable in sorted(env):
        if variable.startswith(start):
            key = variable.removeprefix(start).lower()
            _check_known(key, names, variable, start)
            values[key] = _convert_text(env[variable], types[key], variable)
    for key, value in (overrides or {}).items():
        if value is not None:
            flag = "--" + key.replace("_", "-")
            _check_known(key, names, flag)
            values[key] = _convert(value, types[key], flag)
    return cls(**values)


def _read_table(
    section: str, env: Mapping[str, str], path: str | Path | None
) -> tuple[str, str, dict[str, Any]]:
    """The file's name and text, for messages, and its table of this section."""
    named = path or env.get("PENSTOCK_CONFIG")
    file = Path(named) if named else next((file for file in FILES if file.is_file()), None)
    if file is None:
        return "", "", {}
    try:
        text = file.read_text()
        tables = tomllib.loads(text)
    except OSError as error:
        raise BadSetting(f"{file}: {error.strerror}: see PENSTOCK_CONFIG and --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file}: {error}") from error
    for name, table in tables.items():
        _check_known(name, SECTIONS, f"{file}{_line(text, name)}, table [{name}]")
        if not isinstance(table, dict):
            raise BadSetting(f"{file}{_line(text, name)}: [{name}] is a table, not a value")
    return str(file), text, tables.get(section, {})


def _line(text: str, name: str) -> str:
    """`:3`, the line where `name` is given, if it can be found."""
    found = re.search(rf"^[ \t]*\[*[ \t]*{re.escape(name)}\b", text, re.MULTILINE)
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""


def _check_known(name: str, known: Iterable[str], source: str, prefix: str = "") -> None:
    known = list(known)
    if name in known:
        return
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    shown = [prefix + (each.upper() if prefix else each) for each in (near or known)]
    hint = f"did you mean {shown[0]}?" if near else f"known are {', '.join(shown)}"
    raise BadSetting(f"{source}: no such setting: {hint}")


def _convert(value: Any, wanted: Any, source: str) -> Any:
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{source} = {value!r}: {_allowed(wanted, error)}") from error


def _convert_text(text: str, wanted: Any, source: str) -> Any:
    """Of an environment variable: plain for numbers and words, JSON for lists."""
    value: Any = text
    try:
        if isinstance(inspect.type_info(wanted), inspect.VarTupleType | inspect.ListType):
            value = msgspec.json.decode(text)
        return msgspec.convert(value, wanted, strict=False)
    except msgspec.DecodeError as error:
        raise BadSetting(f"{source} = {text!r}: {_allowed(wanted, error)}") from error


def _allowed(wanted: Any, error: Exception) -> str:
    """What may stand there: the whole range, where msgspec names only the end that was passed."""
    kind = inspect.type_info(wanted)
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        bounds = (("from", kind.ge), ("above", kind.gt), ("to", kind.le), ("below", kind.lt))
        words = ["a whole number" if isinstance(kind, inspect.IntType) else "a number"]
        return " ".join(["want", *words, *(f"{word} {end}" for word, end in bounds if end is not None)])
    if isinstance(kind, inspect.LiteralType):
        return f"want one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, inspect.StrType) and kind.pattern:
        return f"want text like {kind.pattern}"
    return str(error)
