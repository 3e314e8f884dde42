"""``each``: as if every item had a savepoint of its own, at a small part of the statements."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError

from sessionwise import OptionError, batch
from sessionwise.errors import DeadlineExceededError
from tests.backends import Database, on
from tests.model import Order, User
from tests.test_savepoint import deadlock


def each(
    session: Any,
    items: Any,
    apply: Callable[[Any, Any], object] | None = None,
    **options: Any,
) -> batch.BatchResult[Any]:
    """Run a batch; ``apply`` takes the sync session and the item."""

    def run(sync: Any) -> batch.BatchResult[Any]:
        bound = None if apply is None else lambda item: apply(sync, item)
        return batch.each(sync, items, bound, **options)

    run_sync = getattr(session, "run_sync", None)
    return run(session) if run_sync is None else run_sync(run)


def users(count: int, *taken: int) -> list[User]:
    """Make users, those at some positions by a name that is taken."""
    return [User(name="Taken" if at in taken else f"user {at}") for at in range(count)]


def positions(result: batch.BatchResult[Any]) -> list[int]:
    return [reject.position for reject in result.rejected]


def insert_name(session: Any, name: str) -> None:
    session.execute(insert(User).values(name=name))


@pytest.fixture
def taken(db: Database) -> Database:
    with db.observer.begin() as connection:
        connection.execute(insert(User).values(name="Taken", balance=7))
    return db


class TestDecisions:
    def test_a_chunk_is_cut_in_eight(self) -> None:
        chunk = list(range(20))
        cut = batch.parts(chunk, (), 0, 0)
        assert [len(part) for part in cut] == [3, 3, 3, 3, 3, 3, 2]
        assert [item for part in cut for item in part] == chunk

    def test_suspects_stand_alone(self) -> None:
        assert batch.parts("abcdef", {0, 3}, 0, 0) == ["a", "bc", "d", "ef"]
        assert batch.parts("abc", {2}, 0, 0) == ["ab", "c"]
        assert batch.parts("ab", {0, 1}, 0, 0) == ["a", "b"]

    def test_one_by_one_where_many_fail(self) -> None:
        assert batch.parts("abcdef", (), 100, 4) == list("abcdef")

    def test_chunks_shrink_with_the_share_that_fails(self) -> None:
        assert batch.size(500, 0, 0) == 500
        assert batch.size(500, 10_000, 1) == 500
        assert batch.size(500, 10_000, 100) == 40
        assert batch.size(500, 100, 3) == 13
        assert batch.size(500, 100, 12) == 3
        assert batch.size(500, 100, 13) == 1
        assert batch.size(500, 1, 1) == 1


class TestOutcome:
    def test_accepted_and_rejected(self, taken: Database) -> None:
        with taken.session() as session:
            items = users(10, 3, 7)
            result = each(session, items)
            assert result.accepted == [item for at, item in enumerate(items) if at not in (3, 7)]
            assert [reject.item for reject in result.rejected] == [items[3], items[7]]
            assert positions(result) == [3, 7]
            assert result.total == 10
            session.commit()
        assert taken.names() == sorted(
            ["Taken", *(f"user {at}" for at in range(10) if at not in (3, 7))]
        )

    def test_no_items(self, db: Database) -> None:
        with db.session() as session, db.statements() as seen:
            assert each(session, []) == batch.BatchResult([], [])
            assert seen == []

    @pytest.mark.parametrize("size", [1, 4, 500])
    def test_all_fail(self, taken: Database, size: int) -> None:
        with taken.session() as session:
            result = each(session, users(20, *range(20)), chunk_size=size)
            assert result.accepted == []
            assert positions(result) == list(range(20))
            assert not session.new
            session.commit()
        assert taken.names() == ["Taken"]

    @pytest.mark.parametrize("size", [1, 2, 9])
    def test_the_size_of_a_chunk_changes_nothing(self, taken: Database, size: int) -> None:
        with taken.session() as session:
            assert positions(each(session, users(20, 3, 4, 19), chunk_size=size)) == [3, 4, 19]
            session.commit()
        assert len(taken.names()) == 18

    def test_the_first_of_two_equal_items_is_accepted(self, db: Database) -> None:
        with db.session() as session:
            items = [User(name=name, balance=at) for at, name in enumerate("abcabdefghik")]
            assert positions(each(session, items)) == [3, 4]
            session.commit()
            assert session.scalar(select(User.balance).where(User.name == "a")) == 0

    def test_errors_keep_their_type_and_message(self, taken: Database) -> None:
        def apply(session: Any, name: str) -> None:
            if name == "wrong":
                raise ValueError("not a name")
            session.add(User(name=name))

        with taken.session() as session:
            result = each(session, ["a", "wrong", "b", "Taken", "c"], apply)
            wrong, duplicate = (reject.error for reject in result.rejected)
            assert type(wrong) is ValueError
            assert str(wrong) == "not a name"
            assert type(duplicate) is IntegrityError
            assert "users" in str(duplicate)
            assert result.accepted == ["a", "b", "c"]

    def test_an_error_after_a_statement_of_the_item(self, db: Database) -> None:
        def apply(session: Any, name: str) -> None:
            insert_name(session, name)
            if name == "b":
                raise ValueError(name)

        with db.session() as session:
            assert positions(each(session, "abc", apply)) == [1]
            session.commit()
        assert db.names() == ["a", "c"]

    def test_an_error_of_the_driver_that_apply_keeps_to_itself(self, taken: Database) -> None:
        """On PostgreSQL it has doomed the savepoint, and so rejects the item; elsewhere not."""

        def apply(session: Any, name: str) -> None:
            try:
                insert_name(session, name)
            except IntegrityError:
                pass

        with taken.session() as session:
            result = each(session, ["a", "Taken", "b"], apply)
            assert positions(result) == ([1] if taken.driver.server == "postgresql" else [])
            session.commit()
        assert taken.names() == ["Taken", "a", "b"]

    def test_what_has_no_key_to_ask_for(self, db: Database) -> None:
        """NULL is refused: the keys tell nothing, and the chunk is cut."""
        with db.session() as session:
            items = [User(name=None if at in (5, 70) else f"user {at}") for at in range(100)]
            assert positions(each(session, items)) == [5, 70]
            session.commit()
        assert len(db.names()) == 98

    def test_a_foreign_key(self, db: Database) -> None:
        if db.driver.server == "sqlite":
            pytest.skip("a plain session does not turn foreign keys on")
        with db.session() as session:
            alice = User(name="Alice")
            session.add(alice)
            session.flush()
            missing = alice.id + 1000
            orders = [
                Order(user_id=missing if at == 9 else alice.id, amount=at) for at in range(40)
            ]
            assert positions(each(session, orders)) == [9]
            session.commit()

    def test_a_block_of_the_items_own(self, taken: Database) -> None:
        def apply(session: Any, name: str) -> None:
            session.add(User(name=name))
            try:
                with session.begin_nested():
                    session.add(User(name="Taken"))
            except IntegrityError:
                pass

        with taken.session() as session:
            assert each(session, "abc", apply).accepted == list("abc")
            session.commit()
        assert taken.names() == ["Taken", "a", "b", "c"]


class TestInput:
    def test_is_read_chunk_by_chunk(self, db: Database) -> None:
        read: list[int] = []

        def items() -> Iterator[str]:
            for at in range(10):
                read.append(at)
                yield f"user {at}"

        seen: dict[str, int] = {}

        def apply(_session: Any, name: str) -> None:
            seen[name] = len(read)

        with db.session() as session:
            each(session, items(), apply, chunk_size=4)
        assert list(seen.values()) == [4] * 4 + [8] * 4 + [10] * 2

    def test_its_error_is_nobodys(self, db: Database) -> None:
        def items() -> Iterator[User]:
            yield from users(5)
            raise LookupError("no more")

        with db.session() as session:
            with pytest.raises(LookupError, match="no more"):
                each(session, items(), chunk_size=2)
            session.commit()
        assert len(db.names()) == 4, "what was done until then stands"

    @pytest.mark.parametrize("size", [0, -1, 1.5, "10", True, None])
    def test_a_chunk_has_a_size(self, db: Database, size: Any) -> None:
        with db.session() as session, pytest.raises(OptionError, match=r"chunk_size=.* 1 or more"):
            each(session, [], chunk_size=size)


class TestObjects:
    def test_accepted_ones_are_stored_under_their_ids(self, taken: Database) -> None:
        with taken.session() as session:
            items = users(100, 3, 50)
            result = each(session, items)
            assert all(item in session for item in result.accepted)
            stored = dict(session.execute(select(User.name, User.id)).all())
            assert [item.id for item in result.accepted] == [
                stored[item.name] for item in result.accepted
            ]
            assert {item.balance for item in result.accepted} == {0}

    def test_rejected_ones_are_as_they_were(self, taken: Database) -> None:
        def apply(session: Any, user: User) -> None:
            session.add(user)
            session.flush()
            if user.name == "user 1":
                raise ValueError

        with taken.session() as session:
            items = users(6, 4)
            result = each(session, items, apply)
            assert positions(result) == [1, 4]
            for reject in result.rejected:
                assert reject.item not in session
                assert {"id", "balance"}.isdisjoint(vars(reject.item))
            session.commit()

    def test_a_key_of_a_failed_attempt_does_not_stick(self, db: Database) -> None:
        """SQLAlchemy leaves it in the object: the next attempt would store it as the user's."""
        given: list[dict[str, Any]] = []

        def note(_mapper: Any, _connection: Any, user: User) -> None:
            given.append({"id": user.id, "balance": user.balance})

        def apply(session: Any, user: User) -> None:
            session.add(user)
            session.flush()
            if user.name == "user 4":
                raise ValueError

        event.listen(User, "before_insert", note)
        try:
            with db.session(expire_on_commit=False) as session:
                result = each(session, users(8), apply)
                session.commit()
                assert positions(result) == [4]
                assert all(values == {"id": None, "balance": None} for values in given)
                assert len({user.id for user in result.accepted}) == 7
        finally:
            event.remove(User, "before_insert", note)

    def test_a_value_that_the_database_computes_is_computed_again(self, taken: Database) -> None:
        with taken.session() as session:
            items = [User(name="Taken" if at == 8 else f"user {at}") for at in range(10)]
            for item in items:
                item.balance = text("1 + 1")
            result = each(session, items)
            assert positions(result) == [8]
            session.commit()
            assert set(session.scalars(select(User.balance))) == {7, 2}

    def test_a_given_key_is_kept(self, taken: Database) -> None:
        with taken.session() as session:
            items = [User(id=10**6 + at, name="Taken" if at == 8 else str(at)) for at in range(10)]
            assert positions(each(session, items)) == [8]
            session.commit()
            expected = [10**6 + at for at in range(10) if at != 8]
            assert (
                list(
                    session.scalars(select(User.id).where(User.name != "Taken").order_by(User.id))
                )
                == expected
            )

    def test_loaded_ones_are_restored(self, db: Database) -> None:
        with db.session() as session:
            alice, bob = User(name="Alice", balance=1), User(name="Bob", balance=1)
            session.add_all([alice, bob])
            session.commit()

            def apply(_session: Any, user: User) -> None:
                user.balance += 1
                if user is bob:
                    user.name = "Alice"

            db.read_committed(session)
            session.refresh(alice)
            session.refresh(bob)
            assert positions(each(session, [alice, bob], apply)) == [1]
            session.refresh(bob)
            assert (bob.name, bob.balance) == ("Bob", 1)
            session.commit()
            assert dict(session.execute(select(User.name, User.balance)).all()) == {
                "Alice": 2,
                "Bob": 1,
            }

    def test_what_belongs_to_the_item_goes_with_it(self, taken: Database) -> None:
        def apply(session: Any, name: str) -> None:
            session.add(User(name=f"friend of {name}"))
            session.flush()
            session.add(User(name=name))

        with taken.session() as session:
            assert positions(each(session, ["a", "Taken", "b"], apply)) == [1]
            assert not session.new
            session.commit()
        assert taken.names() == ["Taken", "a", "b", "friend of a", "friend of b"]


class TestAround:
    def test_pending_work_is_flushed_first(self, taken: Database) -> None:
        with taken.session() as session:
            session.add(User(name="outer"))
            each(session, users(3, 0, 1, 2))
            session.commit()
        assert taken.names() == ["Taken", "outer"]

    def test_pending_work_that_fails_is_no_items_fault(self, taken: Database) -> None:
        with taken.session() as session:
            session.add(User(name="Taken"))
            with pytest.raises(IntegrityError):
                each(session, users(3))
            session.rollback()
        assert taken.names() == ["Taken"]

    def test_a_block_that_undoes_it_all(self, taken: Database) -> None:
        with taken.session() as session:
            session.add(User(name="outer"))
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                assert positions(each(session, users(5, 2))) == [2]
                raise ZeroDivisionError
            session.commit()
        assert taken.names() == ["Taken", "outer"]

    def test_a_block_that_keeps_it(self, taken: Database) -> None:
        with taken.session() as session:
            with session.begin_nested() as block:
                each(session, users(3, 1))
                assert session.get_nested_transaction() == block
                session.commit()
                each(session, [User(name="gone"), User(name="Taken")])
                session.rollback()
            session.commit()
        assert taken.names() == ["Taken", "user 0", "user 2"]

    def test_nothing_is_committed(self, db: Database) -> None:
        with db.session() as session:
            each(session, users(3))
            assert db.names() == []
            session.rollback()
        assert db.names() == []

    def test_a_rollback_afterwards_is_the_callers_own(self, taken: Database) -> None:
        """No block has failed as far as the caller is concerned: there is nothing to warn of."""
        with taken.session() as session:
            session.add(User(name="outer"))
            each(session, users(3, 2))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                session.rollback()

    def test_no_listener_is_left_behind(self, taken: Database) -> None:
        with taken.session() as session:
            sync = getattr(session, "target", session)
            dispatch = getattr(sync, "sync_session", sync).dispatch
            names = ("transient_to_pending", "after_transaction_end")
            before = [len(getattr(dispatch, name)) for name in names]
            each(session, users(3, 1))
            assert [len(getattr(dispatch, name)) for name in names] == before


@pytest.mark.filterwarnings("ignore::sessionwise.OuterRollbackWarning")
class TestNobodysFault:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, DeadlineExceededError])
    def test_leaves_the_batch(self, db: Database, error: type[BaseException]) -> None:
        def apply(session: Any, name: str) -> None:
            insert_name(session, name)
            if name == "c":
                raise error

        with db.session() as session:
            with pytest.raises(error):
                each(session, "abcd", apply, chunk_size=2)
            session.commit()
        assert db.names() == ["a", "b"], "the chunk that was left is undone, the one before stands"

    def test_a_lost_connection(self, db: Database) -> None:
        def apply(session: Any, name: str) -> None:
            insert_name(session, name)
            if name == "c":
                session.connection().invalidate()
                raise ValueError(name)

        with db.session() as session:
            with pytest.raises(ValueError, match="c"):
                each(session, "abcd", apply, chunk_size=2)
            session.rollback()
        assert db.names() == []

    @on("postgresql")
    def test_a_connection_that_the_server_ends(self, db: Database) -> None:
        def apply(session: Any, name: str) -> None:
            insert_name(session, name)
            if name == "c":
                session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        with db.session() as session:
            with pytest.raises(DBAPIError) as caught:
                each(session, "abcd", apply)
            assert caught.value.connection_invalidated
            session.rollback()
        assert db.names() == []

    @on("mariadb")
    def test_a_transaction_that_a_deadlock_has_ended(self, db: Database) -> None:
        with db.session() as session:
            session.add_all([User(id=1, name="Alice"), User(id=2, name="Bob")])
            session.commit()
        with db.session() as session, deadlock(db) as lose:

            def apply(session: Any, name: str) -> None:
                insert_name(session, name) if name != "lose" else lose(session)

            with pytest.raises(OperationalError) as caught:
                each(session, ["a", "lose", "b"], apply)
            assert "1213" in str(caught.value.__context__), "then its savepoint is missing: 1305"
            session.rollback()
        assert db.names() == ["Alice", "Bob"]

    @pytest.mark.parametrize("verb", ["commit", "rollback"])
    def test_an_apply_that_ends_the_savepoint(self, db: Database, verb: str) -> None:
        def apply(session: Any, name: str) -> None:
            insert_name(session, name)
            if name == "b":
                getattr(session, verb)()

        with db.session() as session:
            session.add(User(name="outer"))
            with pytest.raises(InvalidRequestError, match="apply has ended the savepoint"):
                each(session, "abc", apply)
            assert db.names() == [], "outer work is neither committed"
            session.commit()
        assert "outer" in db.names(), "nor undone"


def one_by_one(session: Any, items: list[Any], apply: Callable[[Any, Any], object]) -> list[int]:
    """Give each item a savepoint of its own; return which were rejected."""
    rejected = []

    def run(session: Any) -> None:
        for position, item in enumerate(items):
            try:
                with session.begin_nested():
                    apply(session, item)
            except Exception:  # noqa: BLE001 -- as in each()
                rejected.append(position)

    session.run_sync(run) if hasattr(session, "run_sync") else run(session)
    return rejected


Row = tuple[str, str, int]


def random_work(seed: int) -> tuple[list[Row], int]:
    """Make items of several kinds, and a chunk size."""
    chance = random.Random(seed)
    share = chance.choice([0.0, 0.02, 0.1, 0.5])
    kinds = ("orm", "orm", "orm", "core", "raise", "update", "twice", "null")
    rows = []
    for number in range(chance.choice([1, 7, 60])):
        duplicate = chance.random() < share
        name = f"n{chance.randrange(5)}" if duplicate else f"user {number}"
        kind = chance.choice(kinds) if chance.random() < share * 2 else "orm"
        rows.append((kind, name, number))
    return rows, chance.choice([1, 3, 16, 500])


def do_row(session: Any, row: Row) -> None:
    kind, name, number = row
    if kind == "core":
        session.execute(insert(User).values(name=name, balance=number))
    elif kind == "raise":
        session.add(User(name=name))
        raise ValueError(name)
    elif kind == "update":
        session.execute(
            update(User).where(User.name == "n0").values(balance=User.balance + number)
        )
        session.add(User(name=name, balance=number))
    elif kind == "twice":
        session.add(User(name=f"{name} once more"))
        session.flush()
        session.add(User(name=name))
    else:
        session.add(User(name=None if kind == "null" else name, balance=number))


@pytest.mark.parametrize("seed", range(12))
def test_is_as_if_each_had_a_savepoint_of_its_own(db: Database, seed: int) -> None:
    rows, chunk_size = random_work(seed)

    def run(reference: bool) -> tuple[list[int], list[Any]]:
        db.clear()
        with db.session() as session:
            session.add_all([User(name="n0"), User(name="n1")])
            session.commit()
            if reference:
                rejected = one_by_one(session, rows, do_row)
            else:
                rejected = positions(each(session, rows, do_row, chunk_size=chunk_size))
            session.commit()
        with db.observer.connect() as connection:
            stored = connection.execute(select(User.name, User.balance).order_by(User.name))
            return rejected, [tuple(row) for row in stored]

    assert run(reference=False) == run(reference=True)


def counted(statements: list[str]) -> dict[str, int]:
    """Count statements by their first word; ROLLBACK is always one to a savepoint here."""
    return dict(Counter(statement.split()[0] for statement in statements))


def spread(failing: int, count: int) -> set[int]:
    """Place the failing items evenly."""
    return set(range(count // failing // 2, count, count // failing)) if failing else set()


TEN_THOUSAND = {
    # Twenty chunks of 500. A chunk that fails is asked for its keys, in a savepoint, and done
    # again: the rows up to the failing one, that one, and the rows after it.
    0: {"SAVEPOINT": 20, "INSERT": 20, "RELEASE": 20},
    1: {"SAVEPOINT": 23, "INSERT": 22, "RELEASE": 21, "ROLLBACK": 2, "SELECT": 1},
    100: {"SAVEPOINT": 260, "INSERT": 240, "RELEASE": 140, "ROLLBACK": 120, "SELECT": 20},
}
SQLITE_INSERTS = {0: 10_000, 1: 10_001, 100: 11_020}
"""SQLAlchemy gives SQLite one row per statement: a chunk fails at the row that is to blame."""


class TestStatements:
    """A savepoint per item would take 30,000."""

    @pytest.mark.parametrize("failing", TEN_THOUSAND)
    def test_ten_thousand_objects(self, taken: Database, failing: int) -> None:
        expected = dict(TEN_THOUSAND[failing])
        if taken.driver.server == "sqlite":
            expected |= {"BEGIN": 1, "INSERT": SQLITE_INSERTS[failing]}
        with taken.session() as session, taken.statements() as seen:
            result = each(session, iter(users(10_000, *spread(failing, 10_000))))
            assert len(result.rejected) == failing
            assert counted(seen) == expected

    def test_one_in_ten(self, taken: Database) -> None:
        """A savepoint per item would take 3,000."""
        expected = {"SAVEPOINT": 206, "INSERT": 204, "RELEASE": 104, "ROLLBACK": 102, "SELECT": 2}
        if taken.driver.server == "sqlite":
            expected |= {"BEGIN": 1, "INSERT": 1012}
        with taken.session() as session, taken.statements() as seen:
            assert len(each(session, users(1000, *spread(100, 1000))).rejected) == 100
            assert counted(seen) == expected

    @pytest.mark.parametrize(
        ("failing", "expected"),
        [
            (0, {"SAVEPOINT": 2, "INSERT": 1000, "RELEASE": 2}),
            (1, {"SAVEPOINT": 4, "INSERT": 1001, "RELEASE": 2, "ROLLBACK": 2}),
        ],
    )
    def test_a_thousand_statements(
        self, taken: Database, failing: int, expected: dict[str, int]
    ) -> None:
        """It is known which item's statement failed; those after it had not been done."""
        begin = {"BEGIN": 1} if taken.driver.server == "sqlite" else {}
        bad = {500} if failing else set()
        names = ["Taken" if at in bad else f"user {at}" for at in range(1000)]
        with taken.session() as session, taken.statements() as seen:
            assert positions(each(session, names, insert_name)) == sorted(bad)
            assert counted(seen) == expected | begin

    def test_where_no_key_tells(self, db: Database) -> None:
        """One of 500 has no name: 500 → 63 → 7 → 1, each time one part of eight fails."""
        with db.session() as session, db.statements() as seen:
            items = [User(name=None if at == 250 else f"user {at}") for at in range(500)]
            assert positions(each(session, items)) == [250]
        counts = counted(seen)
        assert counts["ROLLBACK"] == 4
        assert counts["SELECT"] == 2
        assert counts["RELEASE"] == 7 + 7 + 6 + counts["SELECT"]
