"""The docs say what the code says: links, settings, limits, dependencies, commands, codes, layouts."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from struct import Struct
from typing import Any, get_args, get_type_hints

import click
import msgspec
import pytest
from msgspec import inspect

import penstock
from broker import wire
from broker.ingest import Reason
from broker.settings import BrokerSettings, load
from gateway import frames, protocol
from gateway.peer import TOO_SLOW
from gateway.settings import GatewaySettings
from producer.settings import ProducerSettings
from tests.support.docs import DOCS, PAGES, PROTOCOL, blocks, first_cells, lines, prose, rows, section
from tests.support.processes import REPO

LIMITS = DOCS / "limits.md"
DEPENDENCIES = DOCS / "dependencies.md"
SETTINGS: dict[str, type[msgspec.Struct]] = {
    "broker": BrokerSettings,
    "gateway": GatewaySettings,
    "producer": ProducerSettings,
}


# Links


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.is_file(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_is_listed_in_the_readme() -> None:
    listed = set(re.findall(r"\]\(docs/(\w+\.md)\)", PAGES[0].read_text()))
    assert listed >= {page.name for page in PAGES[1:]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`((?:broker|gateway|producer|web|deploy|tests|docs)/[\w./-]*)`", page.read_text())
    assert [name for name in named if not (REPO / name).exists()] == []


# Settings and limits


def shown(value: Any) -> str:
    if value in (None, "", ()):
        return "none"
    return f"`{value}`" if isinstance(value, str) else f"{value:,.12g}"


def allowed(wanted: Any) -> str | None:
    """The values that a setting takes; None where that is not said by numbers or words."""
    kind = inspect.type_info(wanted)
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(f"`{value}`" for value in kind.values)
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return None
    if kind.gt is not None:
        return f"above {shown(kind.gt)}"
    return f"at least {shown(kind.ge)}" if kind.le is None else f"{shown(kind.ge)} to {shown(kind.le)}"


def plain(cell: str) -> str:
    """Ports and the like stand without the commas of large numbers."""
    return cell.replace(",", "")


@pytest.mark.parametrize("section", SETTINGS)
def test_every_setting_has_its_line(section: str) -> None:
    fields = msgspec.structs.fields(SETTINGS[section])
    types = get_type_hints(SETTINGS[section], include_extras=True)
    said = {cells[0].strip("`"): cells for cells in rows(LIMITS, f"[{section}]")}
    assert list(said) == [field.name for field in fields]
    for field in fields:
        _, default, range_said, what = said[field.name]
        assert plain(default) == plain(shown(field.default)), field.name
        range_meant = allowed(types[field.name])
        assert range_meant is None or plain(range_said) == plain(range_meant), field.name
        assert what


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(*cells[:2], id=cells[0].strip("`")) for cells in rows(LIMITS, "What is fixed")],
)
def test_every_fixed_limit_is_the_one_of_the_code(name: str, value: str) -> None:
    module, _, constant = name.strip("`").rpartition(".")
    assert plain(value) == plain(shown(getattr(import_module(module), constant)))


def test_the_settings_file_of_the_docs_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(blocks(LIMITS, "toml")[0])
    broker = load(BrokerSettings, "broker", env={}, path=file)
    assert (broker.keep_events, broker.retention[0].pattern) == (10_000, "audit/**")
    assert load(GatewaySettings, "gateway", env={}, path=file).origins == ("https://page.example",)


# Dependencies


def direct() -> set[str]:
    names: set[str] = set()
    for file in (REPO / "requirements").glob("*.in"):
        names |= set(re.findall(r"^([\w.-]+)==", file.read_text(), re.MULTILINE))
    for folder in ("web", "tests/bench/peers"):
        package = json.loads((REPO / folder / "package.json").read_text())
        names |= {**package["dependencies"], **package.get("devDependencies", {})}.keys()
    return names


def test_every_direct_dependency_has_its_line_and_no_other_has() -> None:
    said = [cells[0] for cells in rows(DEPENDENCIES, "Dependencies")]
    assert sorted(said) == sorted(direct())


# Commands


def commands() -> list[tuple[str, str]]:
    return [(page.name, line) for page in PAGES for line in lines(page, "sh")]


def assert_is_setting(given: str) -> None:
    """`given`: a variable with its value."""
    section, name = given.partition("=")[0].removeprefix("PENSTOCK_").lower().split("__")
    assert name in SETTINGS[section].__struct_fields__


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_of_the_docs_is_one(page: str, line: str) -> None:
    """Known, and with arguments that it takes; what can be run is run in tests/process."""
    for part in line.partition("#")[0].split("|"):
        program, *args = shlex.split(part)
        while program.startswith("PENSTOCK_"):
            assert_is_setting(program)
            program, *args = args
        if program == "penstock":
            name, command, rest = penstock.cli.resolve_command(click.Context(penstock.cli), args)
            assert command is not None
            command.make_context(name, rest)
        elif program == "make":
            makefile = (REPO / "Makefile").read_text()
            assert [target for target in args if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
        elif program.startswith("supervisor"):
            assert (REPO / args[args.index("-c") + 1]).is_file()
        elif program == "export":
            assert_is_setting(args[0])
        elif program == "python":
            assert importlib.util.find_spec(args[args.index("-m") + 1])
        else:
            assert program in (".", "curl", "npm", "tail"), f"{page}: nobody has looked at {line!r}"


def test_settings_named_as_variables_are_settings() -> None:
    for page in PAGES:
        for process, name in re.findall(r"PENSTOCK_([A-Z]+)__([A-Z_]+)", page.read_text()):
            assert name.lower() in SETTINGS[process.lower()].__struct_fields__, page.name


# The protocol


def names_given_to(files: list[str], functions: set[str]) -> set[str]:
    """The texts of one lower-case word that these functions are called with."""
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse((REPO / file).read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in functions:
                given = [each.value for each in node.args if isinstance(each, ast.Constant)]
                found |= {text for text in given if isinstance(text, str) and re.fullmatch(r"[a-z_]+", text)}
    return found


def test_every_error_code_has_its_line() -> None:
    files = [f"gateway/{name}.py" for name in ("protocol", "connection", "peer", "publishes", "publishing")]
    of_the_broker = {"conflict"}
    codes = names_given_to(files, {"Refusal", "_Refused", "Refused"})
    assert first_cells(PROTOCOL, "Errors") == codes | of_the_broker


def test_every_cause_of_a_gap_has_its_line() -> None:
    causes = {cells[0].strip("`") for cells in rows(PROTOCOL, "What the gateway says")}
    assert causes == names_given_to(
        ["gateway/connection.py", "gateway/cut.py", "gateway/past.py", "broker/upstream.py"],
        {"Gap", "_gap", "_missing"},
    )


def test_every_refusal_over_http_is_named() -> None:
    text = PROTOCOL.read_text()
    names = ("http", "upgrade", "service", "edge", "head", "lobby", "raw", "opening", "posting", "publishing")
    files = [f"gateway/{name}.py" for name in names]
    codes = names_given_to(files, {"_error", "Refusal", "Refused"})
    assert {code for code in codes if f"`{code}`" not in text} == set()


def test_every_reason_for_a_drop_has_its_line() -> None:
    assert first_cells(PROTOCOL, "Ingest: what producers send") == set(get_args(Reason))


def test_every_refusal_to_publish_has_its_line() -> None:
    codes = names_given_to(["broker/publishing.py"], {"Refused", "_refuse"})
    told = {code for row in rows(PROTOCOL, "Confirmed publishing") for code in re.findall(r"`(\w+)`", row[0])}
    assert told == (codes | {"bad_topic", "system_topic"}) - {"conflict"}
    assert "`conflict`" in section(PROTOCOL.read_text(), "Confirmed publishing")


def test_every_close_code_has_its_line() -> None:
    sent = {
        frames.GOING_AWAY, frames.PROTOCOL_ERROR, frames.BAD_DATA, frames.POLICY, frames.TOO_BIG,
        frames.COME_BACK, TOO_SLOW,
    }  # fmt: skip
    assert first_cells(PROTOCOL, "Close codes") == {str(code) for code in sent}


@pytest.mark.parametrize(
    ("layout", "meant"),
    [
        pytest.param(">QQqB", wire.META, id="meta"),
        pytest.param(">BBHIQQQq", wire.STAMP, id="stamp"),
        pytest.param(">HI", wire.RECORD, id="record, before its stamp"),
        pytest.param(">HIB", wire.EVENT, id="event to be published"),
    ],
)
def test_layouts_are_those_of_the_code(layout: str, meant: Struct) -> None:
    assert f"`{layout}`" in PROTOCOL.read_text()
    assert meant.format.removesuffix("40s") == layout


@pytest.mark.parametrize("line", lines(PROTOCOL, "json", "What a client says"))
def test_a_client_may_say_what_the_docs_say(line: str) -> None:
    (command,) = protocol.commands(line, history_max=2_000)
    assert not isinstance(command, protocol.Refusal), command
    assert command.id == json.loads(line)["id"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_json_example_is_json(page: Path) -> None:
    for line in lines(page, "json"):
        json.loads(line)
