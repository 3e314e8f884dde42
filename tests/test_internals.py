"""docs/internals.md lists the private names that are used, each in one module, and no others."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from inspect import getsource
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "sessionwise"
ROW = re.compile(r"^\| `((?:sqlalchemy|pymysql)\.[\w.]+)` \| `([\w./]+)` \|", re.MULTILINE)
LISTED: list[tuple[str, str]] = ROW.findall((ROOT / "docs" / "internals.md").read_text())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def used_by(tree: ast.AST) -> set[str]:
    """Return the private names that a module takes from elsewhere or reads off an object."""
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imports = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        for alias in node.names
    }
    return {name for name in attributes | imports if is_private(name)}


def made_by(tree: ast.AST) -> set[str]:
    """Return the private names that a module gives to what is its own."""
    made: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                made.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
    return {name for name in made if is_private(name)}


TREES = {path.relative_to(SOURCE): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}


def test_something_is_listed() -> None:
    assert len(LISTED) >= 10


@pytest.mark.parametrize(("name", "module"), LISTED)
def test_is_used_in_its_module_only(name: str, module: str) -> None:
    attribute = name.rpartition(".")[2]
    assert [path for path, tree in TREES.items() if attribute in used_by(tree)] == [Path(module)]


@pytest.mark.parametrize("name", [name for name, _ in LISTED])
def test_still_exists(name: str) -> None:
    owner_path, _, attribute = name.rpartition(".")
    module, inside = owner_path, list[str]()
    while True:
        try:
            owner = import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            inside.insert(0, last)
    for one in inside:
        owner = getattr(owner, one)
    # What only the objects have is found where the class reads or sets it.
    assert hasattr(owner, attribute) or re.search(rf"self\.{attribute}\b", getsource(owner))


def test_no_other_private_name_is_used() -> None:
    listed = {name.rpartition(".")[2] for name, _ in LISTED}
    ours = set().union(*(made_by(tree) for tree in TREES.values())) - listed
    used = set().union(*(used_by(tree) for tree in TREES.values()))
    assert used - ours - {"_getframe", "_exit"} == listed
