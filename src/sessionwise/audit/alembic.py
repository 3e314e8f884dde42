"""The audit in Alembic's migrations: what autogenerate finds of it, and the operations for that.

In ``env.py``::

    import sessionwise.audit.alembic  # noqa: F401 - operations of migrations

    context.configure(connection=connection, target_metadata=..., sessionwise_audit=audit)

A migration holds the statements themselves: it makes the same triggers whenever it is run, also
when the model has changed since. What it replaces or removes, its ``downgrade`` makes once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, MetaData
from sqlalchemy.dialects import mysql

from sessionwise.audit.tables import METADATA
from sessionwise.audit.triggers.definitions import defined
from sessionwise.audit.triggers.install import bodies_for, send, wanted

try:
    from alembic.autogenerate import comparators, renderers
    from alembic.operations import Operations, ops
    from alembic.util import DispatchPriority, PriorityDispatchResult
except ImportError as error:
    raise ImportError(
        "the audit's operations need Alembic 1.18 or later: pip install sessionwise[alembic]"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy import Dialect, Table

    from sessionwise.audit.audit import Audit
    from sessionwise.audit.triggers.artifact import Kind

__all__ = ["CreateAuditTriggerOp", "DropAuditTriggerOp"]

OPTION = "sessionwise_audit"
"""What ``context.configure`` is given the audit as."""


class _AuditTriggerOp(ops.MigrateOperation):
    def __init__(
        self,
        name: str,
        table: str | None = None,
        *,
        create: Sequence[str],
        drop: Sequence[str],
        before: Sequence[str] = (),
        kind: Kind = "trigger",
    ) -> None:
        self.name, self.table = name, table
        self.kind: Kind = kind
        self.create, self.drop, self.before = list(create), list(drop), list(before)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` shows."""
        return (self.verb, self.kind, self.name, self.table)

    verb = ""


@Operations.register_operation("create_audit_trigger")
class CreateAuditTriggerOp(_AuditTriggerOp):
    """Makes a trigger, function or table of the audit, or replaces it."""

    verb = "create_audit_trigger"

    @classmethod
    def create_audit_trigger(
        cls, operations: Operations, name: str, table: str | None = None, **made: Any
    ) -> None:
        """Make a trigger, function or table of the audit, or replace it.

        :param create: the statements.
        :param drop: the statements that remove it.
        :param before: the statements that make what was there before.
        :param kind: ``"trigger"``, ``"function"``, ``"view"`` or ``"table"``.
        """
        operations.invoke(cls(name, table, **made))

    def reverse(self) -> ops.MigrateOperation:
        """Return what makes the former one, or removes this one where there was none."""
        if not self.before:
            return DropAuditTriggerOp(
                self.name, self.table, create=self.create, drop=self.drop, kind=self.kind
            )
        return CreateAuditTriggerOp(
            self.name,
            self.table,
            create=self.before,
            drop=self.drop,
            before=self.create,
            kind=self.kind,
        )


@Operations.register_operation("drop_audit_trigger")
class DropAuditTriggerOp(_AuditTriggerOp):
    """Removes a trigger, function or table of the audit."""

    verb = "drop_audit_trigger"

    @classmethod
    def drop_audit_trigger(
        cls, operations: Operations, name: str, table: str | None = None, **made: Any
    ) -> None:
        """Remove a trigger, function or table of the audit.

        :param drop: the statements.
        :param create: the statements that make it once more.
        :param kind: ``"trigger"``, ``"function"``, ``"view"`` or ``"table"``.
        """
        operations.invoke(cls(name, table, **made))

    def reverse(self) -> ops.MigrateOperation:
        """Return what makes it once more."""
        return CreateAuditTriggerOp(
            self.name, self.table, create=self.create, drop=self.drop, kind=self.kind
        )


@Operations.implementation_for(CreateAuditTriggerOp)
def _create(operations: Operations, operation: CreateAuditTriggerOp) -> None:
    _run(operations, operation.create)


@Operations.implementation_for(DropAuditTriggerOp)
def _drop(operations: Operations, operation: DropAuditTriggerOp) -> None:
    _run(operations, operation.drop)


def _run(operations: Operations, statements: Iterable[str]) -> None:
    if operations.migration_context.as_sql:
        for statement in statements:
            operations.migration_context.impl.static_output(f"{statement};\n")
    else:
        send(operations.get_bind(), statements)


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST)
def _compare(
    context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Collection[str | None]
) -> PriorityDispatchResult:
    """Find what is missing, stale or left over of an audit."""
    audit: Audit | None = context.opts.get(OPTION)
    if audit is not None:
        _compare_tables(context, upgrade, audit)
        if audit.capture != "session":
            _compare_triggers(context, upgrade, audit)
    return PriorityDispatchResult.CONTINUE


def _compare_tables(context: AutogenContext, upgrade: ops.UpgradeOps, audit: Audit) -> None:
    """Keep the audit's tables, of which the application's metadata know nothing; make them."""
    given = context.metadata
    foreign = set(_tables_of_triggers(context, audit))
    if METADATA not in (given if isinstance(given, list | tuple) else [given]):
        foreign |= set(METADATA.tables)
        there = set(context.inspector.get_table_names())
        missing = [table for table in METADATA.sorted_tables if table.name not in there]
        upgrade.ops[:0] = [one for table in missing for one in _making(context, table)]
    upgrade.ops[:] = [
        _of_this_dialect(context, one) for one in upgrade.ops if not _drops(one, foreign)
    ]


def _tables_of_triggers(context: AutogenContext, audit: Audit) -> Iterator[str]:
    """Give the names of the tables that triggers need, and no metadata have."""
    if audit.capture != "session":
        for artifact in bodies_for(_dialect(context).name).shared(audit.coverage):
            if artifact.kind == "table":
                yield artifact.name


def _drops(operation: ops.MigrateOperation, names: set[str]) -> bool:
    kinds = (ops.DropTableOp, ops.ModifyTableOps)
    return isinstance(operation, kinds) and operation.table_name in names


def _making(context: AutogenContext, table: Table) -> Iterator[ops.MigrateOperation]:
    yield ops.CreateTableOp.from_table(_adapted(context, table))
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield ops.CreateIndexOp.from_index(index)


def _of_this_dialect(
    context: AutogenContext, operation: ops.MigrateOperation
) -> ops.MigrateOperation:
    if isinstance(operation, ops.CreateTableOp) and operation.table_name in METADATA.tables:
        table = METADATA.tables[operation.table_name]
        return ops.CreateTableOp.from_table(_adapted(context, table))
    return operation


def _adapted(context: AutogenContext, table: Table) -> Table:
    """Return a table whose JSON can be rendered: a JSONB among its variants cannot."""
    dialect = _dialect(context)
    adapted = table.to_metadata(MetaData())
    for column in adapted.columns:
        if isinstance(column.type, JSON) and dialect.name != "postgresql":
            is_text = column.type.compile(dialect) == "LONGTEXT"
            column.type = mysql.LONGTEXT() if is_text else JSON()
    return adapted


def _compare_triggers(context: AutogenContext, upgrade: ops.UpgradeOps, audit: Audit) -> None:
    connection = context.connection
    assert connection is not None  # noqa: S101 - autogenerate does not run without one
    bodies = bodies_for(connection.dialect.name)
    present = bodies.present(connection, audit.coverage)
    artifacts = wanted(audit.coverage, bodies, audit.capture)
    first: list[ops.MigrateOperation] = []
    for artifact in artifacts:
        if present.get(artifact.key) == artifact.digest:
            continue
        before = defined(connection, artifact.key) if artifact.key in present else []
        if before and connection.dialect.name != "postgresql":
            # Only there may a function name columns that are not there yet, or no longer.
            first.append(
                DropAuditTriggerOp(
                    artifact.name,
                    artifact.table,
                    create=before,
                    drop=artifact.drop,
                    kind=artifact.kind,
                )
            )
            before = []
        upgrade.ops.append(
            CreateAuditTriggerOp(
                artifact.name,
                artifact.table,
                create=artifact.create,
                drop=artifact.drop,
                before=before,
                kind=artifact.kind,
            )
        )
    known = {artifact.key for artifact in artifacts}
    for key in sorted(present.keys() - known, key=lambda key: (key[0] != "trigger", str(key))):
        kind, name, table = key
        drop, create = bodies.removal(key), defined(connection, key)
        first.append(DropAuditTriggerOp(name, table, create=create, drop=drop, kind=kind))
    upgrade.ops[:0] = first  # while the tables are there


def _dialect(context: AutogenContext) -> Dialect:
    assert context.dialect is not None  # noqa: S101 - as above
    return context.dialect


@renderers.dispatch_for(CreateAuditTriggerOp)
@renderers.dispatch_for(DropAuditTriggerOp)
def _render(context: AutogenContext, operation: _AuditTriggerOp) -> str:
    lines = [f"    {operation.name!r},"]
    if operation.table is not None:
        lines.append(f"    {operation.table!r},")
    lines.append(f"    kind={operation.kind!r},")
    for option in ("create", "drop", "before"):
        if statements := getattr(operation, option):
            lines.append(f"    {option}=[")
            for statement in statements:
                lines += [f"        {line!r}" for line in statement.splitlines(keepends=True)]
                lines[-1] += ","
            lines.append("    ],")
    prefix = context.opts.get("alembic_module_prefix") or ""
    return "\n".join([f"{prefix}{operation.verb}(", *lines, ")"])
