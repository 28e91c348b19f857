"""Imports point one way, pure cores stay pure, and one file patches the standard library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

# What a package may import of ours, apart from itself.
CONTRACT_NAMES = "control dial errors gap logs more settings topics upstream wire"
CONTRACT = {f"broker.{name}" for name in CONTRACT_NAMES.split()}
# Who runs the set reads what its processes read: where they will listen.
SETTINGS = {"broker.errors", "broker.settings", "gateway.settings"}
MAY_IMPORT = {"broker": set[str](), "producer": CONTRACT, "gateway": CONTRACT, "deploy": SETTINGS}
OURS = {*MAY_IMPORT, "penstock", "tests"}

# These decide and do nothing else: time and bytes come in as arguments. Every file whose docstring
# opens with a paragraph that ends in "Pure." is held to it as well.
CORES = {
    "broker/chunk.py",
    "broker/control.py",
    "broker/errors.py",
    "broker/topics.py",
    "broker/upstream.py",
    "broker/wire.py",
    "gateway/connection.py",
    "gateway/event.py",
    "gateway/forms.py",
    "gateway/frames.py",
    "gateway/hub.py",
    "gateway/protocol.py",
    "gateway/ring.py",
    "gateway/socketio/engine_packets.py",
    "gateway/socketio/errors.py",
    "gateway/socketio/packets.py",
    "gateway/trie.py",
}
IMPURE = {"asyncio", "gevent", "selectors", "socket", "ssl", "subprocess", "threading", "time", "zmq"}

PATCHER = "gateway/__main__.py"


def sources(package: str) -> list[Path]:
    return sorted((REPO / package).rglob("*.py"))


def says_pure(path: Path) -> bool:
    summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    return summary.endswith("Pure.")


PURE = sorted(
    CORES
    | {str(path.relative_to(REPO)) for package in MAY_IMPORT for path in sources(package) if says_pure(path)}
)


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports anywhere in it; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports of ours name the package"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def foreign(path: Path, package: str) -> set[str]:
    """What of our other packages the file imports, as modules."""
    named = {name for name in imports(path) if name.split(".")[0] in OURS - {package}}
    # `from broker.wire import Stamp` gives broker.wire.Stamp as well: two names deep is a module.
    modules = {".".join(name.split(".")[:2]) for name in named}
    return {name for name in modules if "." in name or name in ("penstock", "tests")}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_the_contract_and_nothing_else_of_the_others(package: str) -> None:
    found = {str(path.relative_to(REPO)): foreign(path, package) for path in sources(package)}
    assert {file: extra for file, names in found.items() if (extra := names - MAY_IMPORT[package])} == {}


@pytest.mark.parametrize("file", PURE)
def test_a_core_does_no_input_or_output(file: str) -> None:
    roots = {name.split(".")[0] for name in imports(REPO / file)}
    assert roots & IMPURE == set()


@pytest.mark.parametrize("file", PURE)
def test_a_core_imports_only_cores_of_ours(file: str) -> None:
    names = [name.split(".") for name in imports(REPO / file) if name.split(".")[0] in OURS]
    # A module is two names deep, or three in a package within one; beyond are its own names.
    files = {f"{'/'.join(parts[:depth])}.py" for parts in names for depth in (2, 3) if len(parts) >= depth}
    assert {name for name in files if (REPO / name).exists()} <= set(PURE)


def test_only_the_gateway_s_entry_patches_the_standard_library() -> None:
    patching = {
        str(path.relative_to(REPO))
        for package in MAY_IMPORT
        for path in sources(package)
        if any(name.startswith("gevent.monkey") for name in imports(path))
    }
    assert patching == {PATCHER}


def test_the_entry_patches_before_it_imports_anything_else() -> None:
    body = ast.parse((REPO / PATCHER).read_text()).body
    statements = [ast.unparse(node) for node in body if not isinstance(node, ast.Expr) or _is_call(node)]
    code = [line for line in statements if not line.startswith("from __future__")]
    assert code[:2] == ["from gevent import monkey", "monkey.patch_all()"]


def _is_call(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Call)
