"""``sessionwise audit``, as a new user would: a database with data, and whatever changes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typer.testing import CliRunner

import sessionwise
from sessionwise.audit import Audit, actor
from sessionwise.audit.tables import METADATA
from sessionwise.cli.app import app
from sessionwise.cli.urls import checked_url
from tests.shop import COMMAND, is_well

MODELS = """
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise.audit import Audit


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "cli_customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    city: Mapped[str] = mapped_column(String(50))


class Seat(Base):
    __tablename__ = "cli_seats"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    side: Mapped[str] = mapped_column(String(5), primary_key=True)


audit = Audit(Base.metadata, tables=[Customer])
number = 5
"""

Done = subprocess.CompletedProcess[str]


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "cli_customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50))
    city: Mapped[str] = mapped_column(sa.String(50))


class Seat(Base):
    __tablename__ = "cli_seats"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    side: Mapped[str] = mapped_column(sa.String(5), primary_key=True)


class Shop:
    """A database with two tables and two rows, and a directory with their models."""

    def __init__(self, url: Any, folder: Path) -> None:
        self.url = checked_url(url.render_as_string(hide_password=False))
        self.text = url.render_as_string(hide_password=False)
        self.folder = folder
        self.engine = sa.create_engine(self.url)
        (folder / "shopmodels.py").write_text(MODELS)

    def audit(self, command: str, *arguments: str) -> Done:
        return self.run("audit", command, *arguments, "--db", self.text)

    def run(self, *arguments: str) -> Done:
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(sessionwise.__file__).parents[1])},
            timeout=100,
        )

    def ask(self, command: str, *arguments: str) -> Done:
        """Run a command in this process, which takes less time than to begin one."""
        line = ["audit", command, *arguments, "--db", self.text]
        done = CliRunner().invoke(app, line, catch_exceptions=False)
        return Done(line, done.exit_code, done.stdout, done.stderr)

    def json(self, command: str, *arguments: str) -> Any:
        return json.loads(is_well(self.ask(command, *arguments, "--json")).stdout)

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def client(self, statement: str) -> None:
        """Send a statement by the database's own client."""
        url = self.url
        command = {
            "sqlite": ["sqlite3", str(url.database)],
            "postgresql": ["psql", "-v", "ON_ERROR_STOP=1", "-q", _for_psql(url)],
            "mariadb": [
                *("mariadb", "--skip-ssl", f"--host={url.host}", f"--port={url.port}"),
                *(f"--user={url.username}", f"--database={url.database}"),
            ],
        }[url.get_backend_name()]
        if shutil.which(command[0]) is None:
            pytest.skip(f"there is no {command[0]} on the PATH")
        environment = {**os.environ, "MYSQL_PWD": url.password or ""}
        subprocess.run(command, input=statement, encoding="utf-8", check=True, env=environment)


def _for_psql(url: sa.URL) -> str:
    plain = url.set(drivername="postgresql")
    if "host" in url.query:  # a directory with a socket
        host, plain = str(url.query["host"]), plain.set(query={})
        return f"host={host} dbname={url.database} user={url.username or 'postgres'}"
    return plain.render_as_string(hide_password=False)


@pytest.fixture
def shop(server_url: Any, tmp_path: Path) -> Iterator[Shop]:
    url = server_url
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(tmp_path / "shop.db"))
    shop = Shop(url, tmp_path)
    clean(shop.engine)
    Base.metadata.create_all(shop.engine)
    with shop.engine.begin() as connection:
        connection.execute(
            Customer.__table__.insert(),
            [{"id": 1, "name": "Ann", "city": "Oslo"}, {"id": 2, "name": "Bea", "city": "Rome"}],
        )
        connection.execute(Seat.__table__.insert(), [{"number": 1, "side": "left"}])
    yield shop
    clean(shop.engine)
    shop.engine.dispose()


def clean(engine: sa.Engine) -> None:
    audit = Audit(Base.metadata)
    audit.uninstall(engine, drop_tables=True)
    Base.metadata.drop_all(engine)
    METADATA.drop_all(engine)


def test_a_day_with_the_audit(shop: Shop) -> None:
    """Install it where there is data, change that by every road, and ask what has happened."""
    done = is_well(shop.audit("install", "--models", "shopmodels:Base"))
    assert done.stdout == "cli_customers\ttriggers\ncli_seats\ttriggers\n"
    assert is_well(shop.audit("doctor", "--models", "shopmodels:Base")).stdout == (
        "all is as it is to be\n"
    )
    done = is_well(shop.audit("backfill", "--models", "shopmodels:Base"))
    assert done.stdout == "cli_customers\t2\ncli_seats\t1\n"
    with sessionwise.Session(shop.engine, audit=Audit(Base.metadata)) as session:
        with actor("alice", reason="ticket 42"):
            session.get_one(Customer, 1).city = "Paris"
            session.commit()
        with actor("loader"):
            session.bulk_insert(
                Customer, [{"id": n, "name": f"N{n}", "city": "-"} for n in (3, 4)]
            )
            session.commit()
        session.execute(sa.text("UPDATE cli_customers SET city = 'Bern' WHERE id = 3"))
        session.commit()
    shop.client("DELETE FROM cli_customers WHERE id = 2;")
    shop.client("UPDATE cli_customers SET name = 'Anne' WHERE id = 1;")

    told = shop.json("log", "--table", "cli_customers")["changes"]
    assert [(one["action"], one["object_id"], one["actor"]) for one in told] == [
        ("INSERT", "1", None),
        ("INSERT", "2", None),
        ("UPDATE", "1", "alice"),
        ("INSERT", "3", "loader"),
        ("INSERT", "4", "loader"),
        ("UPDATE", "3", None),
        ("DELETE", "2", None),
        ("UPDATE", "1", None),
    ]
    assert told[0]["reason"] == "backfill"
    by_alice = shop.json("log", "--actor", "alice")["changes"]
    assert [one["new"] for one in by_alice] == [{"city": "Paris"}]
    assert shop.json("log", "--limit", "1")["changes"] == told[-1:]
    assert shop.json("log", "--since", "2999-01-01") == {"changes": []}
    line = is_well(shop.ask("log", "--actor", "alice")).stdout
    assert line.split("\t")[2:] == [
        *("alice", "UPDATE", "cli_customers", "1"),
        'city: "Oslo" → "Paris"\n',
    ]

    shown = is_well(shop.ask("show", "cli_customers", "1")).stdout
    values = [one for one in shown.splitlines() if one.startswith(" ")]
    assert sorted(values[:3]) + values[
        3:
    ] == [  # PostgreSQL has the columns in an order of its own
        '    city: "Oslo"',
        "    id: 1",
        '    name: "Ann"',
        '    city: "Oslo" → "Paris"',
        '    name: "Ann" → "Anne"',
    ]
    assert "by alice (ticket 42)" in shown
    assert shop.json("show", "cli_seats", '[1,"left"]')["changes"][0]["action"] == "INSERT"

    file = shop.folder / "all.jsonl"
    done = is_well(shop.ask("export", str(file)))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 9
    assert [one for one in lines if one["table"] == "cli_customers"] == told
    assert f"9 changes, the last has the number {lines[-1]['id']}" in done.stdout
    piped = is_well(shop.audit("export", "-", "--after", str(lines[-2]["id"])))
    assert [json.loads(line) for line in piped.stdout.splitlines()] == lines[-1:]


def test_doctor_finds_what_is_missing(shop: Shop) -> None:
    models = ("--models", "shopmodels:audit")
    done = shop.audit("doctor", *models, "--json")
    assert done.returncode == 1
    assert {one["kind"] for one in json.loads(done.stdout)["findings"]} >= {"missing table"}
    is_well(shop.audit("install", *models))
    is_well(shop.audit("doctor", *models))
    name, table = trigger_of(shop.engine)
    suffix = f" ON {table}" if shop.engine.dialect.name == "postgresql" else ""
    shop.execute(f"DROP TRIGGER {name}{suffix}")
    done = shop.audit("doctor", *models)
    assert done.returncode == 1
    assert "missing" in done.stdout
    assert name in done.stdout
    is_well(shop.audit("install", *models))
    is_well(shop.audit("doctor", *models))


def trigger_of(engine: sa.Engine) -> tuple[str, str]:
    query = {
        "sqlite": "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger "
        "WHERE NOT tgisinternal",
        "mysql": "SELECT trigger_name, event_object_table FROM information_schema.triggers "
        "WHERE trigger_schema = DATABASE()",
    }
    dialect = "mysql" if engine.dialect.name == "mariadb" else engine.dialect.name
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(query[dialect]).all()
    return next((name, table) for name, table in sorted(rows) if table == "cli_customers")


def test_without_models_the_tables_are_those_of_the_database(shop: Shop) -> None:
    if shop.engine.dialect.name != "sqlite":
        pytest.skip("other tests have tables there")
    is_well(shop.ask("install"))
    assert is_well(shop.ask("doctor")).stdout == "all is as it is to be\n"
    shop.execute("UPDATE cli_customers SET city = 'Bonn' WHERE id = 1")
    (told,) = shop.json("log")["changes"]
    assert (told["old"]["city"], told["new"]) == ("Oslo", {"city": "Bonn"})
    assert is_well(shop.ask("install")).stdout == (
        "cli_customers\ttriggers\ncli_seats\ttriggers\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("log",), "sessionwise audit install"),
        (("show", "cli_customers", "1"), "sessionwise audit install"),
        (("export", "-"), "sessionwise audit install"),
        (("install", "--models", "shopmodels"), "module:name"),
        (("install", "--models", "shopmodel:Base"), "no module 'shopmodel'"),
        (("install", "--models", "shopmodels:Bas"), "did you mean 'Base'?"),
        (("install", "--models", "shopmodels:number"), "'int'"),
        (("install", "--models", "broken:Base"), "imports nowhere"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "broken.py").write_text("import nowhere\n")
    shop = Shop(sa.make_url(f"sqlite:///{tmp_path / 'a.db'}"), tmp_path)
    Base.metadata.create_all(shop.engine)
    done = (shop.audit if "--models" in arguments else shop.ask)(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("sessionwise: ")
    assert message in done.stderr
    shop.engine.dispose()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("log", "--since", "yesterday"), "--since 'yesterday' is no moment"),
        (("log", "--table", "cli_customer"), "did you mean 'cli_customers'?"),
        (("show", "cli_customers", "77"), "no change of cli_customers 77"),
        (("export", "there.jsonl"), "--force"),
        (("export", "nowhere/a.jsonl"), "correct its name"),
    ],
)
def test_what_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    shop = Shop(sa.make_url(f"sqlite:///{tmp_path / 'a.db'}"), tmp_path)
    Base.metadata.create_all(shop.engine)
    (tmp_path / "there.jsonl").write_text("x")
    monkeypatch.chdir(tmp_path)
    is_well(shop.ask("install"))
    shop.execute("INSERT INTO cli_customers VALUES (1, 'Ann', 'Oslo')")
    done = shop.ask(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert (tmp_path / "there.jsonl").read_text() == "x"
    shop.engine.dispose()


def test_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(sa.make_url(f"sqlite:///{tmp_path / 'a.db'}"), tmp_path)
    Base.metadata.create_all(shop.engine)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    is_well(shop.ask("install"))
    shop.execute("INSERT INTO cli_customers VALUES (1, '[red]Ann[/]', 'Oslo')")
    log = is_well(shop.ask("log")).stdout
    assert "┃" in log
    assert '"[red]Ann[/]"' in log
    assert '"[red]Ann[/]"' in is_well(shop.ask("show", "cli_customers", "1")).stdout
    shop.engine.dispose()


def test_no_tables(tmp_path: Path) -> None:
    shop = Shop(sa.make_url(f"sqlite:///{tmp_path / 'a.db'}"), tmp_path)
    shop.execute("CREATE VIEW one AS SELECT 1")
    done = shop.ask("install")
    assert (done.returncode, "no tables to audit" in done.stderr) == (2, True)
    shop.engine.dispose()


def test_every_command_and_option_is_documented() -> None:
    group: Any = typer.main.get_command(app).commands["audit"]  # type: ignore[attr-defined]
    commands: Mapping[str, Any] = group.commands
    assert [*commands] == ["install", "doctor", "backfill", "log", "show", "export"]
    for name, command in commands.items():
        assert command.help
        assert "Exit codes:" in command.help
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"
        assert {"--db", "--json", "--debug"} <= {
            option for one in command.params for option in one.opts
        }
