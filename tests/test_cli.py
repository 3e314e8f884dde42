"""The command line: what it takes, what it tells, and how it ends."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

import sessionwise.cli.tour
from sessionwise.cli.app import app
from sessionwise.cli.interrupt import ending_by_exception
from sessionwise.cli.urls import checked_url
from sessionwise.tour.chapter import Answer, Chapter, Scene
from sessionwise.tour.chapters import chapters
from sessionwise.tour.stage import Side

COMMAND = [sys.executable, "-m", "sessionwise.cli"]
WITHOUT = (
    "import sys; {}; sys.argv[0] = 'sessionwise'; import sessionwise.cli.__main__ as m; m.main()"
)
ANSI = "\x1b["


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment that asks for no colours and no width, with temporary files of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "TTY_COMPATIBLE"}
    }
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return {**kept, "TMPDIR": str(temporary), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def run(environment: dict[str, str]) -> Any:
    """Run the command, in a process of its own; it must leave no temporary file."""

    def run(
        *arguments: str, command: list[str] = COMMAND, **more: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            timeout=100,
        )
        assert os.listdir(environment["TMPDIR"]) == []
        return done

    return run


def text_of(url: Any, **changes: Any) -> str:
    return url.set(**changes).render_as_string(hide_password=False)


@pytest.fixture
def tables(server_url: Any) -> Iterator[None]:
    """Check that the same tables are there afterwards."""
    engine = sa.create_engine(checked_url(text_of(server_url)))
    before = set(sa.inspect(engine).get_table_names())
    yield
    assert set(sa.inspect(engine).get_table_names()) == before
    engine.dispose()


# What it takes


def test_version_is_one_line(run: Any) -> None:
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"sessionwise \S+.*, SQLAlchemy 2\.1\S*, Python 3\.\S+\n", done.stdout)


def test_without_a_command_the_help_is_shown(run: Any) -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == run("--help").stdout.split()


def test_every_command_and_option_is_documented(run: Any) -> None:
    group: Any = typer.main.get_command(app)
    commands = [([], group), *(([name], command) for name, command in group.commands.items())]
    for path, command in commands:
        text = run(*path, "--help", COLUMNS="200").stdout
        assert command.help
        assert command.help.split("\n")[0] in text
        for parameter in command.params:
            assert parameter.help, f"{path} {parameter.name}"
            assert parameter.help in text
            assert all(option in text for option in parameter.opts)
    for code in ("0 all is well", "1 a promise is broken", "2 the input", "130 interrupted"):
        assert code in " ".join(run("--help").stdout.split())


def test_only_plays_one_chapter(run: Any) -> None:
    done = run("tour", "--only", "12")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^(\d+) · ", done.stdout, re.MULTILINE) == ["12"]


@pytest.mark.parametrize("number", ["99", "eleven", "-1", ""])
def test_chapter_that_is_not_there(run: Any, number: str) -> None:
    done = run("tour", f"--only={number}")
    assert done.returncode == 2
    names = ", ".join(f"{chapter.number} {chapter.title}" for chapter in chapters())
    assert done.stderr == (
        f"sessionwise: there is no chapter '{number}'; the chapters are: {names}\n"
    )


def test_json_is_one_document(run: Any, server_url: Any, tables: None) -> None:
    done = run("tour", "--json", "--db", text_of(server_url))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["kept"] is True
    assert document["left_behind"] == []
    assert document["seconds"] > 0
    numbers = [chapter["number"] for chapter in document["chapters"]]
    assert numbers == [chapter.number for chapter in chapters()]
    names = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
    assert document["database"].startswith(names[server_url.get_backend_name()] + " ")
    scenes = [scene for chapter in document["chapters"] for scene in chapter["scenes"]]
    assert len(scenes) == sum(len(chapter.scenes) for chapter in chapters())
    for scene in scenes:
        for side in (scene["plain"], scene["ours"]):
            assert {"answer", "stored", "error", "warnings", "statements", "seconds"} < set(side)
        assert scene["ours"]["kept"]
    ghosts = next(scene for scene in scenes if "released savepoint" in scene["title"])
    assert ghosts["plain"]["kept"] == (server_url.get_backend_name() != "sqlite")


@pytest.mark.parametrize(("columns", "widest"), [(None, 80), ("60", 60), ("120", 100)])
def test_text_in_a_pipe_is_plain_and_fits(run: Any, columns: str | None, widest: int) -> None:
    done = run("tour", **({} if columns is None else {"COLUMNS": columns}))
    assert (done.returncode, done.stderr) == (0, "")
    assert ANSI not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) == widest
    count = sum(len(chapter.scenes) for chapter in chapters())
    assert f"sessionwise keeps {count} of {count} promises, plain SQLAlchemy " in done.stdout
    assert "left behind in the database: nothing." in done.stdout


def test_terminal_without_unicode_gets_words(run: Any) -> None:
    done = run("tour", "--only", "11", PYTHONIOENCODING="ascii:replace")
    assert done.returncode == 0
    assert "plain SQLAlchemy broken" in done.stdout
    assert "sessionwise kept" in done.stdout


def test_colours_are_for_a_terminal(run: Any) -> None:
    assert ANSI in run("tour", "--only", "12", FORCE_COLOR="1").stdout


# How it ends


def broken_chapter(*, breaks: bool) -> Chapter:
    def answer(db: Side) -> Answer:
        """Answer the same on both sides."""
        with db.session() as session:
            return int(session.scalar(sa.select(sa.literal(2 if breaks else 1))))

    scene = Scene(code=answer, answers=1)
    return Chapter(number=1, title="one", promise="It answers 1.", scenes=(scene,))


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_broken_promise_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, breaks: bool, options: list[str]
) -> None:
    chapter = broken_chapter(breaks=breaks)
    monkeypatch.setattr(sessionwise.cli.tour, "chapters", lambda: (chapter,))
    done = CliRunner().invoke(app, ["tour", *options])
    assert done.exit_code == (1 if breaks else 0)
    if options:
        assert json.loads(done.stdout)["kept"] is not breaks
    else:
        assert f"Kept by {'neither' if breaks else 'both'}." in done.stdout
        assert f"keeps {0 if breaks else 1} of 1 promise," in done.stdout


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("scenes", [0, 3])
def test_interrupt_cleans_up(
    environment: dict[str, str], server_url: Any, tables: None, ending: int, scenes: int
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "tour", "--db", text_of(server_url)],
        encoding="utf-8",
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    shown = 0
    while shown < scenes:
        shown += process.stdout.readline().startswith("Promised")
    if scenes == 0:
        process.stdout.readline()  # the tables are there
    process.send_signal(ending)
    process.send_signal(ending)  # whoever presses twice does not spoil the clean-up
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (130, "sessionwise: interrupted\n")
    assert os.listdir(environment["TMPDIR"]) == []


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ending_by_exception():
        assert signal.getsignal(signal.SIGTERM) not in before
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_reader_that_goes_away_is_no_error(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, "tour"],
        encoding="utf-8",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(timeout=30)
    assert os.listdir(environment["TMPDIR"]) == []


# Bad input: one line, exit code 2


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command told of bad input."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("sessionwise: ")
    assert "secret" not in line
    return line.removeprefix("sessionwise: ")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("nonsense", "--db is not a database URL; write it as postgresql://user:password@host:"),
        ("", "--db is not a database URL"),
        ("postgresql://user:x@y:secret@host/name", "--db is not a database URL"),
        ("postgresql://user@host:secret/name", "--db is not a database URL"),
        ("postgresql://user:x@secret@host/name", "--db is not a database URL"),
        ("oracle://user:secret@host/name", "there is no tour on 'oracle'; it runs on sqlite, "),
        ("foo://host", "there is no tour on 'foo'"),
        (
            "postgresql+nope://user:secret@host/name",
            "SQLAlchemy knows no driver 'nope' for postgresql; use --db postgresql+psycopg://",
        ),
        (
            "postgresql+asyncpg://user:secret@host/name",
            "asyncpg is a driver for asyncio, the tour needs the other kind: postgresql+psycopg:",
        ),
        ("sqlite+aiosqlite:///file.db", "aiosqlite is a driver for asyncio, the tour needs "),
        ("mysql+asyncmy://host/name", "asyncmy is a driver for asyncio, "),
        ("mariadb+aiomysql://host/name", "aiomysql is a driver for asyncio, "),
        (
            "mysql+oursql://host/name",
            "SQLAlchemy knows no driver 'oursql' for mysql; use --db mysql+pymysql://",
        ),
        ("sqlite:////no/such/directory/file.db", "/no/such/directory/file.db cannot be opened"),
        (f"sqlite:///{__file__}", f"{__file__} is no SQLite database (file is not a database); "),
    ],
)
def test_url_at_fault(run: Any, url: str, line: str) -> None:
    assert told(run("tour", "--db", url)).startswith(line)


@pytest.mark.parametrize(
    ("module", "url", "step"),
    [
        ("psycopg", "postgresql://user:secret@host/name", "pip install 'sessionwise[postgresql]'"),
        ("psycopg2", "postgresql+psycopg2://host/name", "pip install 'sessionwise[psycopg2]'"),
        ("pymysql", "mariadb://host/name", "pip install 'sessionwise[mariadb]'"),
        ("pymysql", "mysql://host/name", "pip install 'sessionwise[mariadb]'"),
        ("MySQLdb", "mysql+mysqldb://host/name", "install it, or use --db mysql+pymysql://"),
    ],
)
def test_driver_that_is_missing(run: Any, module: str, url: str, step: str) -> None:
    code = WITHOUT.format(f"sys.modules[{module!r}] = None")
    line = told(run("tour", "--db", url, command=[sys.executable, "-c", code]))
    driver = sa.make_url(url).drivername.partition("+")[2] or module
    assert line.startswith(f"the driver {driver} is not installed; ")
    assert step in line


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_extra_that_is_missing(run: Any, missing: str) -> None:
    code = WITHOUT.format(f"sys.modules[{missing!r}] = None")
    line = told(run("tour", command=[sys.executable, "-c", code]))
    assert line == f"its commands need {missing}; run: pip install 'sessionwise[cli]'"
    traceback = run("tour", "--debug", command=[sys.executable, "-c", code]).stderr
    assert traceback.startswith("Traceback")


def test_library_does_without_the_extra(run: Any) -> None:
    code = "import sessionwise, sys; print(sorted({'rich', 'typer'} & set(sys.modules)))"
    assert run(command=[sys.executable, "-c", code]).stdout == "[]\n"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "drivername", ["postgresql", "postgresql+psycopg2", "mariadb", "mysql+pymysql"]
)
def test_server_that_is_not_there(run: Any, closed_port: int, drivername: str) -> None:
    line = told(run("tour", "--db", f"{drivername}://user:secret@127.0.0.1:{closed_port}/name"))
    name = {"p": "PostgreSQL", "ma": "MariaDB", "my": "MySQL"}
    name_of = name["p"] if drivername.startswith("p") else name[drivername[:2]]
    assert line.startswith(f"{name_of} at 127.0.0.1:{closed_port} does not answer (")
    assert "refused" in line
    assert line.endswith("); start it, or correct host and port in --db")


@pytest.mark.parametrize(
    ("drivername", "patience"),
    [("postgresql", "connect_timeout=2"), ("mariadb", "read_timeout=1")],
)
def test_server_that_does_not_answer(
    run: Any, silent_port: int, drivername: str, patience: str
) -> None:
    started = time.monotonic()
    url = f"{drivername}://user:secret@127.0.0.1:{silent_port}/name?{patience}"
    assert f"127.0.0.1:{silent_port} does not answer (" in told(run("tour", "--db", url))
    assert time.monotonic() - started < 15


def test_host_that_is_not_known(run: Any) -> None:
    line = told(run("tour", "--db", "postgresql://user:secret@no-such-host.invalid/name"))
    assert line.startswith("PostgreSQL at no-such-host.invalid:5432 does not answer (")


on_servers = pytest.mark.parametrize("server_url", ["postgresql", "mariadb"], indirect=True)


@on_servers
def test_login_that_is_refused(run: Any, server_url: Any) -> None:
    if server_url.get_backend_name() == "postgresql":
        url = text_of(server_url, username="nobody_of_that_name", password="secret")
    else:
        url = text_of(server_url, username="root", password="secret")
    line = told(run("tour", "--db", url))
    assert "refuses the connection (" in line
    assert line.endswith("); correct user, password and database name in --db")


@on_servers
def test_database_that_is_not_there(run: Any, server_url: Any) -> None:
    line = told(run("tour", "--db", text_of(server_url, database="no_such_database")))
    assert "refuses the connection (" in line
    assert "no_such_database" in line


@pytest.fixture
def humble_url(server_url: Any) -> Iterator[str]:
    """The URL of a user who may log in, and read, and no more."""
    name, backend = f"humble_{secrets.token_hex(3)}", server_url.get_backend_name()
    engine = sa.create_engine(checked_url(text_of(server_url)), isolation_level="AUTOCOMMIT")
    if backend == "postgresql":
        make = [f"CREATE ROLE {name} LOGIN PASSWORD 'secret'", f"CREATE SCHEMA {name}"]
        drop = [f"DROP SCHEMA {name}", f"DROP ROLE {name}"]
        # In a schema of somebody else, since older servers let everybody write to "public".
        query = {**server_url.query, "options": f"-csearch_path={name}"}
        make.append(f"GRANT USAGE ON SCHEMA {name} TO {name}")
        drop.insert(0, f"REVOKE ALL ON SCHEMA {name} FROM {name}")
    else:
        make = [f"CREATE USER {name} IDENTIFIED BY 'secret'"]
        make.append(f"GRANT SELECT ON {server_url.database}.* TO {name}")
        drop, query = [f"DROP USER {name}"], server_url.query
    with engine.connect() as connection:
        for statement in make:
            connection.execute(sa.text(statement))
        yield text_of(server_url, username=name, password="secret", query=query)
        for statement in drop:
            connection.execute(sa.text(statement))
    engine.dispose()


@on_servers
def test_user_who_may_not_create_tables(run: Any, humble_url: str) -> None:
    line = told(run("tour", "--db", humble_url))
    assert " does not let this user create tables (" in line
    assert line.endswith("); GRANT it, or give --db another user")


READ_ONLY = {
    "postgresql": {"options": "-cdefault_transaction_read_only=on"},
    "mariadb": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
}


def test_database_that_is_read_only(run: Any, server_url: Any) -> None:
    if server_url.get_backend_name() == "sqlite":
        Path(server_url.database).touch()
        url = f"sqlite:///file:{server_url.database}?mode=ro&uri=true"
    else:
        more = READ_ONLY[server_url.get_backend_name()]
        url = text_of(server_url, query={**server_url.query, **more})
    line = told(run("tour", "--db", url))
    assert " is read-only (" in line
    assert line.endswith("); give --db a database that can be written")


def test_database_that_is_locked(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "locked.db"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    line = told(run("tour", "--db", f"sqlite:///{file}?timeout=0.1"))
    holder.close()
    assert line.startswith(f"{file} is locked (database is locked); end the program that writes")


@pytest.mark.parametrize(
    "arguments", [["--debug", "tour"], ["tour", "--debug"], ["--debug", "tour", "--debug"]]
)
def test_debug_shows_the_traceback(run: Any, arguments: list[str]) -> None:
    done = run(*arguments, "--db", "sqlite:////no/such/directory/file.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert "sqlite3.OperationalError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sessionwise: /no/such/directory/file.db")
