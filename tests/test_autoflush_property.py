"""With ``autoflush="related"`` every query has the answer that it has with ``autoflush=True``.

Random changes are left pending and random queries asked, in two sessions that differ in nothing
else; both must get the same answers, and store the same.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, inspect, literal, select, table, text, union_all
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import (
    aliased,
    joinedload,
    lazyload,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    with_loader_criteria,
    with_polymorphic,
)

from tests.backends import Database, on
from tests.club import (
    CLASSES,
    Badge,
    Base,
    Club,
    Member,
    Note,
    Room,
    Staff,
    fill,
    member_badge,
    session_of,
)

OtherClub = aliased(Club)
AnyMember = with_polymorphic(Member, [Staff])
names = select(Room.name).where(Room.club_id == 1).cte("names")
counted = select(Member.club_id, func.count().label("n")).group_by(Member.club_id).subquery()
oldest = aliased(Note, select(Note).where(Note.id < 3).subquery())
tree = select(literal(1).label("n")).cte("tree", recursive=True)
tree = tree.union_all(select(tree.c.n + 1).join(Room, Room.id == tree.c.n).where(tree.c.n < 4))

QUERIES: list[Any] = [
    *[select(one).order_by(*inspect(one).primary_key) for one in CLASSES],
    *[select(func.count()).select_from(one) for one in CLASSES],
    select(member_badge).order_by(*member_badge.c),
    select(Club.id, Club.size).order_by(Club.id),
    select(Club.name, Room.name).join(Club.rooms).order_by(Club.id, Room.id),
    select(Club.id, Room.id).outerjoin(Room, Room.club_id == Club.id).order_by(Club.id, Room.id),
    select(Member.id, Badge.id).join(Member.badges).order_by(Member.id, Badge.id),
    select(Note.id, Club.city).join(Note.member).join(Member.club).order_by(Note.id),
    select(Club.id).where(Club.rooms.any(Room.name.like("m%"))).order_by(Club.id),
    select(Room.id).where(Room.club_id.in_(select(Club.id).where(Club.city == "mine"))),
    select(Badge.id).where(~Badge.id.in_(select(member_badge.c.badge_id))).order_by(Badge.id),
    select(Note.id).where(Note.member.has(Member.club.has(Club.id == 1))).order_by(Note.id),
    select(names.c.name).order_by(names.c.name),
    select(Club.id, counted.c.n).join(counted, counted.c.club_id == Club.id).order_by(Club.id),
    select(tree.c.n).order_by(tree.c.n),
    union_all(select(Room.name), select(Badge.name)).order_by("name"),
    select(Room.id).union(select(Badge.id)).order_by("id"),
    select(Club.id).except_(select(Room.club_id)).order_by("id"),
    select(Club.id, OtherClub.id).join(OtherClub, OtherClub.id > Club.id),
    select(OtherClub.city).order_by(OtherClub.id),
    select(oldest.text).order_by(oldest.id),
    select(AnyMember.name, AnyMember.Staff.desk).order_by(AnyMember.id),
    select(AnyMember).order_by(AnyMember.id),
    select(Member.id).join(Staff.__table__, Staff.__table__.c.id == Member.id),
    select(Club).order_by(Club.id).options(selectinload(Club.rooms)),
    select(Club).order_by(Club.id).options(joinedload(Club.members).selectinload(Member.badges)),
    select(Club).order_by(Club.id).options(subqueryload(Club.members).joinedload(Member.notes)),
    select(Member).order_by(Member.id).options(joinedload(Member.club)),
    select(Member).order_by(Member.id).options(selectin_polymorphic(Member, [Staff])),
    select(Member).order_by(Member.id).options(lazyload(Member.notes)),
    select(Room)
    .order_by(Room.id)
    .options(
        with_loader_criteria(Room, Room.club_id.in_(select(Club.id).where(Club.city == "mine")))
    ),
    select(Badge.id, select(func.count(Note.id)).scalar_subquery()).order_by(Badge.id),
    select(func.max(Room.id), func.coalesce(func.min(Room.name), "none")),
    select(func.count()).select_from(table("club_room")),
    text("SELECT count(*), max(name) FROM club_room"),
    text(
        "SELECT b.name FROM club_badge b JOIN club_member_badge m ON m.badge_id = b.id ORDER BY 1"
    ),
    text("WITH n AS (SELECT id FROM club_note) SELECT count(*) FROM n"),
    select(Room).from_statement(text("SELECT * FROM club_room ORDER BY id")),
    select(Note).from_statement(select(Note).where(Note.id > 1).order_by(Note.id)),
    text("SELECT name FROM club_badge WHERE id > :least ORDER BY id").bindparams(least=1),
    select(text("name")).select_from(text("club_club")).order_by(text("1")),
]

number = st.integers(0, 60)
event = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, len(QUERIES) - 1)),
    st.tuples(st.just("ask"), st.integers(0, len(QUERIES) - 1)),
    st.tuples(st.just("add"), st.integers(0, len(CLASSES) - 1), number),
    st.tuples(st.just("change"), number, number),
    st.tuples(st.just("link"), number, number),
    st.tuples(st.just("delete"), number),
    st.tuples(st.just("lazy"), number, number),
    st.tuples(st.just("savepoint"), st.booleans()),
    st.tuples(st.just("flush")),
)
histories = st.lists(event, min_size=2, max_size=12)

SEEN = {"True": 0, "related": 0}
"""Autoflushes that have sent something, by mode."""


class Run:
    """One run of a history; all of it is rolled back."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.made = 100
        self.deletes = False
        with session.no_autoflush:
            self.held = [one for class_ in CLASSES for one in session.scalars(select(class_))]
        self.held = list(dict.fromkeys(self.held))
        self.answers: list[Any] = []

    def play(self, history: list[tuple[Any, ...]]) -> tuple[list[Any], bool]:
        """Return the answers, and whether a flush has failed: nothing can be compared then."""
        try:
            for name, *arguments in history:
                self.answers.append(getattr(self, name)(*arguments))
            SEEN[str(self.session.autoflush_mode)] += self.session.report().autoflushes
            self.session.flush()
        except DBAPIError:
            return self.answers, True
        rows = [self.session.execute(select(one)).all() for one in Base.metadata.sorted_tables]
        self.answers.append([sorted(map(repr, some)) for some in rows])
        return self.answers, False

    # What happens

    def ask(self, which: int) -> Any:
        found = self.session.execute(QUERIES[which]).unique()
        return [tuple(map(label, row)) for row in found]

    def add(self, which: int, to: int) -> None:
        self.made += 1
        made = CLASSES[which](id=self.made)
        if isinstance(made, Note):
            made.text = "mine"
            members = self.of(Member)
            if not members:
                return
            if to % 2:
                made.member = members[to % len(members)]
            else:
                made.member_id = inspect(members[to % len(members)]).identity[0]
        else:
            made.name = "mine"
        if isinstance(made, Club):
            made.city = "mine"
        if isinstance(made, Staff):
            made.desk = to
        if isinstance(made, Member | Room) and self.of(Club):
            club = self.of(Club)[to % len(self.of(Club))]
            if isinstance(made, Member) and to % 3 == 0:
                made.club = club
            else:
                made.club_id = inspect(club).identity[0]
        self.session.add(made)

    def change(self, which: int, to: int) -> None:
        if self.held:
            one = self.held[which % len(self.held)]
            name = "text" if isinstance(one, Note) else "name"
            name = "city" if isinstance(one, Club) and to % 2 else name
            setattr(one, name, "mine")

    def link(self, which: int, to: int) -> None:
        members, badges, clubs, rooms = map(self.of, (Member, Badge, Club, Room))
        if not members or not clubs:
            return
        member = members[which % len(members)]
        match to % 5:
            case 0 if badges:
                badge = badges[to % len(badges)]
                if badge in member.badges:
                    member.badges.remove(badge)
                else:
                    member.badges.append(badge)
            case 1:
                member.club = clubs[which % len(clubs)]
            case 2 if rooms:
                room = rooms[which % len(rooms)]
                if room not in clubs[0].rooms:
                    clubs[0].rooms.append(room)
            case 3:
                notes = [one for one in member.notes if one in self.held]
                if notes:  # the last one is an orphan then
                    member.notes.remove(notes[-1])
                    self.held.remove(notes[-1])
                    self.deletes = True
            case _:
                clubs[which % len(clubs)].members.append(member)

    def delete(self, which: int) -> None:
        if not self.held:
            return
        one = self.held[which % len(self.held)]
        along: tuple[type, ...] = ()
        if isinstance(one, Club):
            along = (Member, Room, Note)
        elif isinstance(one, Member):
            along = (Note,)
        # What goes with it is not touched any more: it would be gone sooner in one run.
        self.held = [other for other in self.held if not isinstance(other, along)]
        self.held.remove(one)
        # To flush a change and then a delete is not the same as to flush both, in any mode.
        self.session.flush()
        self.session.delete(one)
        self.deletes = True

    def lazy(self, which: int, to: int) -> Any:
        if self.deletes or not self.held:
            return None
        one = self.held[which % len(self.held)]
        names = sorted(inspect(one).mapper.relationships.keys())
        if not names:
            return None
        # Objects that are not flushed do not know yet what they will refer to.
        found = listed(getattr(one, names[to % len(names)]))
        return sorted(other.id for other in found if other is not None)

    def savepoint(self, undone: bool) -> Any:
        self.made += 1
        with self.session.begin_nested() as savepoint:
            self.session.add(Badge(id=self.made, name="inside"))
            answer = self.session.scalar(select(func.count(Room.id)))
            if undone:
                savepoint.rollback()
        return answer

    def flush(self) -> None:
        self.session.flush()

    def of(self, class_: type) -> list[Any]:
        return [one for one in self.held if isinstance(one, class_)]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def label(value: Any) -> Any:
    """Describe a value so that the two runs can be compared."""
    state = inspect(value, raiseerr=False)
    if state is None or value is None:
        return value
    # A flush expires the ``size`` of the clubs in it, and of no others; a query does not.
    columns = {
        one.key: getattr(value, one.key) for one in state.mapper.column_attrs if one.key != "size"
    }
    return (state.class_.__name__, tuple(columns.items()))


def compare(db: Database, history: list[tuple[Any, ...]]) -> None:
    runs = []
    for mode in (True, "related"):
        with session_of(db, autoflush=mode) as session:
            runs.append(inside(db, session, lambda sync: Run(sync).play(history)))
            session.rollback()
    (plain, plain_fails), (related, related_fails) = runs
    assert related_fails == plain_fails
    assert related[: len(plain)] == plain


def inside(db: Database, session: Any, play: Any) -> Any:
    """Play with a session; for asyncio, with the one that does its work."""
    return session.run_sync(play) if db.driver.is_async else play(session)


def settings_for(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# A row that the database has deleted along, before the session deletes it.
pytestmark = pytest.mark.filterwarnings("ignore:DELETE statement on table")


@pytest.fixture
def filled(db: Database) -> Database:
    fill(db)
    return db


@on("sqlite3")
@given(history=histories)
@settings_for(2_500)
def test_the_answers_are_those_of_autoflush(filled: Database, history: Any) -> None:
    compare(filled, history)


@on("psycopg", "pymysql", "aiosqlite")
@given(history=histories)
@settings_for(250)
def test_the_answers_are_those_of_autoflush_elsewhere(filled: Database, history: Any) -> None:
    compare(filled, history)


@on("sqlite3")
def test_fewer_flushes(filled: Database) -> None:
    """The comparison says something only where the two modes differ."""
    history = [("add", 5, 0), *[("ask", 0)] * 3, ("change", 0, 0), *[("ask", 4)] * 3]
    SEEN.update({"True": 0, "related": 0})
    compare(filled, history)
    assert SEEN == {"True": 2, "related": 0}
