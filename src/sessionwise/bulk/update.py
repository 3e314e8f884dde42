"""``bulk_update``: the columns that rows have a value for, in what their keys find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.bulk.insert import savepoint
from sessionwise.bulk.result import BulkResult
from sessionwise.bulk.target import Target
from sessionwise.bulk.upsert import Run, unsupported
from sessionwise.bulk.upserting.assignments import Assignments
from sessionwise.bulk.upserting.conflicts import update_found
from sessionwise.bulk.upserting.staging import staging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from sessionwise.bulk.result import BulkProgress

__all__ = ["update"]


def update(
    session: Session,
    entity: Any,
    rows: Any,
    *,
    keys: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    chunk_size: int | None = None,
    progress: Callable[[BulkProgress], object] | None = None,
) -> BulkResult:
    """Update rows; the parameters are those of ``Session.bulk_update``."""
    target = Target.of(entity)
    if target.is_joined:
        raise unsupported(target, "bulk_update")
    assignments = Assignments(target, keys, is_update=True)
    run = Run(session, target, "update", progress)
    run.keys = assignments.keys
    updated = 0
    with savepoint(run.connection), staging(run.connection, assignments) as stage:
        for chunk in run.chunks(rows, columns, chunk_size):
            assignments.check(stage.part(chunk.names).plan)
            run.sending(chunk)
            stage.write(chunk)
            run.sent(chunk)
        stage.refuse_duplicates()
        for part in stage.parts.values():
            conditions = [
                *assignments.of_class(),
                *assignments.same_version(part.plan, stage.table),
            ]
            updated += update_found(stage, part, *conditions)
        run.done()
    return BulkResult(stage.writer, updated=updated, skipped=run.read - updated)
