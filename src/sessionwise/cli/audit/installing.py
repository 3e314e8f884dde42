"""``sessionwise audit install``, ``doctor`` and ``backfill``."""

import typer

from sessionwise.cli.audit.display import Display
from sessionwise.cli.audit.models import audit_of
from sessionwise.cli.audit.options import Db, Models, opened
from sessionwise.cli.options import AsJson, Debug

__all__ = ["backfill", "doctor", "install"]


def install(
    context: typer.Context,
    *,
    db: Db,
    models: Models = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make the audit's tables and triggers, where they are missing or stale.

    From now on every change of the tables is recorded, whoever makes it. What is there already
    is recorded by backfill.

    Examples:
        sessionwise audit install --db postgresql://me@host/shop --models shop.models:Base

        sessionwise audit install --db sqlite:///shop.db

    Exit codes: 0 all is there, 2 the input is at fault, 130 interrupted.

    """
    with opened(context, db, "install", debug=debug) as engine:
        audit = audit_of(engine, models)
        audit.install(engine)
        with engine.connect() as connection:
            captures = audit.captures(connection)
        who = {
            **dict.fromkeys(captures.triggers, "triggers"),
            **dict.fromkeys(captures.session, "sessions"),
        }
        Display(as_json=as_json).table(
            "tables", ("table", "recorded by"), [(name, who[name]) for name in sorted(who)]
        )


def doctor(
    context: typer.Context,
    *,
    db: Db,
    models: Models = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong with the audit of a database, and what to do.

    Give it the same --models as install: it compares what is there with what is to be there.

    Exit codes: 0 all is well, 1 something is wrong, 2 the input is at fault, 130 interrupted.

    """
    with opened(context, db, "doctor", debug=debug) as engine:
        audit = audit_of(engine, models)
        findings = audit.doctor(engine)
        rows = [(one.kind, one.what, one.table, one.step) for one in findings]
        Display(as_json=as_json).table(
            "findings",
            ("kind", "what", "table", "step"),
            rows,
            otherwise="all is as it is to be",
        )
    if findings:
        raise typer.Exit(1)


def backfill(
    context: typer.Context,
    *,
    db: Db,
    models: Models = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Record the rows that are there and have no record yet, once.

    Exit codes: 0 it is done, 2 the input is at fault, 130 interrupted.

    """
    with opened(context, db, "backfill", debug=debug) as engine:
        counts = audit_of(engine, models).backfill(engine)
        Display(as_json=as_json).table("tables", ("table", "rows"), sorted(counts.items()))
