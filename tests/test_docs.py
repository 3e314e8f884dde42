"""The README and the guide run, from top to bottom, and say what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sessionwise
from sessionwise.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = code_blocks(page)
    assert blocks
    namespace: dict[str, Any] = {"__name__": page.stem}
    if page.name == "README.md":
        assert run_opening(blocks.pop(0)) == ["Alice"]
    for block in blocks:
        exec(compile(block, str(page), "exec", dont_inherit=True), namespace)
    printed = capsys.readouterr().out
    for expected in re.findall(r"print\(.*\)  # (.+)", "".join(blocks)):
        assert expected in printed
    namespace["engine"].dispose()


def run_opening(block: str) -> list[str]:
    """Run the lines that the README opens with; return what is stored."""

    class Base(DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with sessionwise.Session(engine) as session:
        exec(block, {"session": session, "User": User})
        names = list(session.scalars(select(User.name)))
    engine.dispose()
    return names


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 110


def test_every_public_name_is_documented() -> None:
    pages = "".join(page.read_text() for page in [*PAGES, ROOT / "CHANGELOG.md"])
    missing = {name for name in sessionwise.__all__ if name not in pages}
    assert missing <= {"OptionError", "SessionwiseError", "SessionwiseWarning"}


@pytest.mark.parametrize("command", ["load", "dump"])
def test_every_option_is_documented(command: str) -> None:
    page = (ROOT / "docs" / "guide" / "load-and-dump.md").read_text()
    text = page.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    app_of: Any = typer.main.get_command(app)
    for parameter in app_of.commands[command].params:
        if parameter.param_type_name == "option":
            assert all(f"`{option}" in text for option in parameter.opts), parameter.opts


@pytest.mark.parametrize("name", sessionwise.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert getattr(sessionwise, name).__doc__


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
