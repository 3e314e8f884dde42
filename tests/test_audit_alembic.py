"""Migrations of Alembic's make, replace and remove the audit's triggers, and take that back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, inspect, select, text
from sqlalchemy.exc import DBAPIError

from sessionwise.audit import Audit, AuditLog
from sessionwise.audit.tables import METADATA
from tests.backends import Database, on

pytestmark = on("sqlite3", "psycopg", "pymysql")
LOG = AuditLog.__table__

ENV = """
from alembic import context

import sessionwise.audit.alembic  # noqa: F401 - operations of migrations

options = context.config.attributes
if context.is_offline_mode():
    context.configure(url=options["engine"].url, output_buffer=options["output"])
    with context.begin_transaction():
        context.run_migrations()
else:
    with options["engine"].begin() as connection:
        context.configure(
            connection=connection,
            target_metadata=options["metadata"],
            sessionwise_audit=options["audit"],
            render_as_batch=options["batch"],
            include_name=lambda name, kind, _: kind != "table" or name.startswith("ledger"),
        )
        context.run_migrations()
"""
SCRIPT = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


class Project:
    """An application with migrations."""

    def __init__(self, db: Database, directory: Path) -> None:
        self.db, self.directory = db, directory
        (directory / "versions").mkdir()
        (directory / "env.py").write_text(ENV)
        (directory / "script.py.mako").write_text(SCRIPT)
        self.config = Config(stdout=io.StringIO())
        self.config.set_main_option("script_location", str(directory))
        self.config.set_main_option("path_separator", "os")
        self.config.attributes["engine"] = db.observer
        self.config.attributes["output"] = io.StringIO()
        self.config.attributes["batch"] = False

    def model(self, metadata: MetaData, **options: Any) -> Audit:
        """Take a model for the application's, from now on."""
        audit = Audit(metadata, **options)
        self.config.attributes["metadata"] = metadata
        self.config.attributes["audit"] = audit
        return audit

    def revise(self) -> str:
        """Have a migration written; return its text."""
        revision: Any = command.revision(self.config, autogenerate=True)
        return Path(revision.path).read_text()

    def upgrade(self) -> None:
        command.upgrade(self.config, "head")

    def downgrade(self, to: str = "-1") -> None:
        command.downgrade(self.config, to)

    def differs(self) -> bool:
        try:
            command.check(self.config)
        except CommandError:
            return True
        return False

    def tables(self) -> set[str]:
        return set(inspect(self.db.observer).get_table_names())


@pytest.fixture
def project(db: Database, tmp_path: Path) -> Iterator[Project]:
    clear(db)
    yield Project(db, tmp_path)
    clear(db)


def clear(db: Database) -> None:
    with suppress(DBAPIError):
        Audit(MetaData()).uninstall(db.observer, drop_tables=True)
    with db.observer.begin() as connection:
        for table in ("ledger_lines", "ledger", "alembic_version"):
            connection.execute(text(f"DROP TABLE IF EXISTS {table}"))


def first_model() -> MetaData:
    metadata = MetaData()
    Table("ledger", metadata, Column("id", Integer, primary_key=True), Column("name", String(20)))
    Table(
        "ledger_lines",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("ledger_id", ForeignKey("ledger.id")),
    )
    return metadata


def second_model() -> MetaData:
    metadata = first_model()
    metadata.tables["ledger"].append_column(Column("note", String(20)))
    return metadata


def doctor(project: Project, audit: Audit) -> list[str]:
    return [str(one) for one in audit.doctor(project.db.observer)]


def recorded(project: Project) -> list[Any]:
    with project.db.observer.connect() as connection:
        return list(connection.scalars(select(LOG.c.object_id).order_by(LOG.c.id)))


def add(project: Project, ident: int) -> None:
    with project.db.observer.begin() as connection:
        connection.execute(text("INSERT INTO ledger (id) VALUES (:id)"), {"id": ident})


@pytest.mark.parametrize("with_metadata", [True, False], ids=["both metadata", "own metadata"])
def test_what_is_missing(project: Project, with_metadata: bool) -> None:
    metadata = first_model()
    audit = project.model(metadata)
    if with_metadata:
        project.config.attributes["metadata"] = [metadata, AuditLog.metadata]
    written = project.revise()
    assert "op.create_audit_trigger(" in written
    assert "op.drop_audit_trigger(" in written
    project.upgrade()
    assert doctor(project, audit) == []
    add(project, 1)
    assert recorded(project) == ["1"]
    if not with_metadata:  # the others' tables would be compared, too, which are not told of here
        assert not project.differs()
        assert "op." not in project.revise().replace("from alembic import op", "")
    project.downgrade("base")
    assert project.tables().isdisjoint({*METADATA.tables, "ledger", "ledger_lines"})


def test_what_is_stale(project: Project) -> None:
    first = project.model(first_model())
    project.revise()
    project.upgrade()
    second = project.model(second_model())
    assert project.differs()
    written = project.revise()
    assert written.index("op.add_column(") < written.index("op.create_audit_trigger(")
    project.upgrade()
    assert doctor(project, second) == []
    assert not project.differs()
    with project.db.observer.begin() as connection:
        connection.execute(text("INSERT INTO ledger (id, note) VALUES (1, 'new')"))
    project.downgrade()
    assert doctor(project, first) == []
    add(project, 2)
    project.upgrade()
    assert doctor(project, second) == []
    add(project, 3)
    assert recorded(project) == ["1", "2", "3"]


@pytest.mark.parametrize("batch", [False, True], ids=["plain", "batch"])
def test_a_column_that_goes(project: Project, batch: bool) -> None:
    """In batch mode SQLite's tables are made anew, and lose their triggers by that."""
    project.config.attributes["batch"] = batch
    second = project.model(second_model())
    project.revise()
    project.upgrade()
    first = project.model(first_model())
    project.revise()
    project.upgrade()
    assert doctor(project, first) == []
    add(project, 1)
    project.downgrade()
    assert doctor(project, second) == []
    add(project, 2)
    assert recorded(project) == ["1", "2"]


def test_what_is_left_over(project: Project) -> None:
    metadata = first_model()
    audit = project.model(metadata)
    project.revise()
    project.upgrade()
    narrow = project.model(metadata, tables=["ledger_lines"])
    written = project.revise()
    assert "op.drop_audit_trigger(" in written
    project.upgrade()
    assert doctor(project, narrow) == []
    add(project, 1)
    project.downgrade()
    assert doctor(project, audit) == []
    add(project, 2)
    assert recorded(project) == ["2"]


def test_a_table_that_goes(project: Project) -> None:
    metadata = first_model()
    audit = project.model(metadata)
    project.revise()
    project.upgrade()
    smaller = MetaData()
    metadata.tables["ledger"].to_metadata(smaller)
    left = project.model(smaller)
    project.revise()
    project.upgrade()
    assert "ledger_lines" not in project.tables()
    assert doctor(project, left) == []
    project.downgrade()
    assert doctor(project, audit) == []


def test_session_capture_has_its_tables_only(project: Project) -> None:
    audit = project.model(first_model(), capture="session")
    written = project.revise()
    assert "audit_trigger" not in written
    project.upgrade()
    assert doctor(project, audit) == []
    assert not project.differs()


def test_without_an_audit_nothing_is_compared(project: Project) -> None:
    project.model(first_model())
    project.config.attributes["audit"] = None
    assert "audit" not in project.revise()


def test_offline(project: Project) -> None:
    project.model(first_model())
    project.revise()
    command.upgrade(project.config, "head", sql=True)
    written = project.config.attributes["output"].getvalue()
    assert "TRIGGER" in written
    assert "sessionwise:" in written
    assert "audit_log" not in project.tables()
