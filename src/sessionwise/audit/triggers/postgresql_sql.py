"""PostgreSQL: the text of the audit's functions and triggers, with places for a table's part."""

from __future__ import annotations

from sessionwise.audit.triggers.postgresql_values import HOME

__all__ = [
    "ADD_TRANSACTION",
    "AFTER_BACKFILL",
    "BEFORE_BACKFILL",
    "CREATE_FUNCTION",
    "CREATE_TRIGGER",
    "DROP_FUNCTION",
    "DROP_TRIGGER",
    "HASH",
    "INSERT",
    "JSON",
    "PAIRS",
    "PRESENT",
    "TRANSACTION",
    "TRANSACTION_OF_PAIR",
    "TRIGGER_FUNCTION",
    "TRUNCATION",
]

_OUTPUT = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
"""What a value's text depends on, and what it is to be."""

_SETTINGS = "\n".join(
    [
        "SET search_path = pg_catalog, pg_temp",
        "SET enable_nestloop = off",  # a plan made for one row pairs a million by it
        "SET jit = off",
        "SET row_security = off",  # what a policy hides is an error, and not left out
        *(f"SET {name} = '{value}'" for name, value in _OUTPUT.items()),
    ]
)

ADD_TRANSACTION = f"""CREATE OR REPLACE FUNCTION {HOME}.sessionwise_audit_transaction()
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  said jsonb := nullif(current_setting('sessionwise.audit', true), '');
  made bigint;
BEGIN
  INSERT INTO {HOME}.audit_transaction (native_id, at, actor, reason, request_id, context)
  VALUES (pg_current_xact_id()::text, statement_timestamp(), said ->> 'actor', said ->> 'reason',
          said ->> 'request_id', said -> 'context')
  RETURNING id INTO made;
  PERFORM set_config('sessionwise.audit_transaction', made::text, true);
  RETURN made;
END
$function$"""  # noqa: S608 - it is made of constants
"""Makes the row of this transaction and actor; returns its id."""

TRANSACTION = f"""(SELECT coalesce(
    (SELECT t.id FROM {HOME}.audit_transaction AS t
      WHERE t.id = nullif(current_setting('sessionwise.audit_transaction', true), '')::bigint
        AND t.native_id = pg_current_xact_id()::text),
    {HOME}.sessionwise_audit_transaction()))"""  # noqa: S608 - it is made of constants
"""The id of the row of this transaction and actor, which is made when first asked for.

Anybody may set a setting: it counts where the row is of this transaction. As a subquery it runs
once for a statement, and not at all where no row is recorded."""

HASH = f"""CREATE OR REPLACE FUNCTION {HOME}.sessionwise_audit_hash(
  of_table text, of_object text, value text
) RETURNS jsonb
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  random bytea;
BEGIN
  SELECT salt INTO random FROM {HOME}.audit_salt AS s
   WHERE s."table" = of_table AND s.object_id = of_object;
  IF random IS NULL THEN
    INSERT INTO {HOME}.audit_salt ("table", object_id, salt)
    VALUES (of_table, of_object, sha256(
      uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    ))
    -- Another transaction may have made it by now: then it is that one.
    ON CONFLICT ("table", object_id) DO UPDATE SET salt = audit_salt.salt
    RETURNING salt INTO random;
  END IF;
  RETURN jsonb_build_object(
    'sha256', encode(sha256(random || convert_to(value, 'UTF8')), 'hex')
  );
END
$function$"""  # noqa: S608 - it is made of constants
"""What is stored of a redacted value."""

JSON = f"""CREATE OR REPLACE FUNCTION {HOME}.sessionwise_audit_json(value text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  RETURN value::jsonb;
EXCEPTION WHEN data_exception THEN
  RETURN to_jsonb(value);
END
$function$"""
"""A document of type ``json``, which may hold what ``jsonb`` cannot: that one stays a text."""

TRIGGER_FUNCTION = f"""CREATE OR REPLACE FUNCTION {HOME}.{{name}}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
{_SETTINGS} AS $function$
BEGIN
{{body}}
  RETURN NULL;
END
$function$"""

INSERT = f"""INSERT INTO {HOME}.audit_log (transaction_id, at, action, "table", object_id,
    previous_id, old, new, schema_version)
  SELECT {{transaction}}, (SELECT clock_timestamp()), {{action}}, {{table}}, {{object_id}},
    {{previous}}, {{old}}, {{new}}, {{version}}{{rows}}"""
"""It has no parameters but the row of a row trigger: PostgreSQL would plan it again and again."""

PAIRS = """(SELECT row_number() OVER () AS sessionwise_n, * FROM old_rows) AS o
    FULL JOIN (SELECT row_number() OVER () AS sessionwise_n, * FROM new_rows) AS n
      ON o.sessionwise_n = n.sessionwise_n"""

TRANSACTION_OF_PAIR = f"CASE WHEN o.sessionwise_n = n.sessionwise_n THEN {TRANSACTION} END"
"""A row without its counterpart cannot be recorded: its transaction is NULL, and an error."""

TRUNCATION = """  EXECUTE replace($rows$
  {insert}
  $rows$, '@sessionwise_rows@',
    CASE (SELECT relkind FROM pg_class WHERE oid = TG_RELID) WHEN 'p' THEN '' ELSE 'ONLY ' END
    || format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));"""

_FIND_HOME = """(
    SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = 'audit_log'::pg_catalog.regclass
  )"""

CREATE_FUNCTION = f"""DO $sessionwise$
DECLARE
  home text := {_FIND_HOME};
BEGIN
  EXECUTE replace($create${{create}}$create$, '{HOME}', home);
  EXECUTE 'REVOKE ALL ON FUNCTION ' || home || $name$.{{signature}}$name$ || ' FROM PUBLIC';
  EXECUTE 'COMMENT ON FUNCTION ' || home || $name$.{{signature}}$name$ || ' IS ''{{comment}}''';
END
$sessionwise$"""

DROP_FUNCTION = """DO $sessionwise$
DECLARE
  one pg_catalog.regprocedure;
BEGIN
  FOR one IN
    SELECT p.oid FROM pg_catalog.pg_proc AS p
      JOIN pg_catalog.pg_class AS c ON c.relnamespace = p.pronamespace
     WHERE c.oid = pg_catalog.to_regclass('audit_log') AND p.proname = {name}
  LOOP
    EXECUTE 'DROP FUNCTION ' || one;
  END LOOP;
END
$sessionwise$"""

DROP_TRIGGER = """DO $sessionwise$
DECLARE
  one pg_catalog.regclass;
BEGIN
  FOR one IN
    SELECT t.tgrelid FROM pg_catalog.pg_trigger AS t
      JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE t.tgname = {name} AND t.tgparentid = 0
       AND (n.nspname || '.' || c.relname = {table}
            OR c.relname = {table} AND pg_catalog.pg_table_is_visible(c.oid))
  LOOP
    EXECUTE 'DROP TRIGGER ' || quote_ident({name}) || ' ON ' || one;
  END LOOP;
END
$sessionwise$"""

CREATE_TRIGGER = f"""DO $sessionwise$
DECLARE
  home text := {_FIND_HOME};
  kind "char" := (SELECT relkind FROM pg_catalog.pg_class
                   WHERE oid = $name${{table}}$name$::pg_catalog.regclass);
  how text := CASE WHEN kind = 'p' THEN '{{if_partitioned}}' ELSE '{{otherwise}}' END;
BEGIN
  DROP TRIGGER IF EXISTS {{name}} ON {{table}};
  EXECUTE $name$CREATE TRIGGER {{name}} {{event}} ON {{table}} $name$ || how
    || ' EXECUTE FUNCTION ' || home || '.{{function}}()';
  ALTER TABLE {{table}} ENABLE ALWAYS TRIGGER {{name}};
  COMMENT ON TRIGGER {{name}} ON {{table}} IS '{{comment}}';
END
$sessionwise$"""  # noqa: S608 - the places are for quoted names
"""A table's kind is only known there; ALWAYS: not even replication's role passes it by."""

PRESENT = """
SELECT 'trigger', t.tgname, n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid),
       t.tgenabled IN ('D', 'R'),
       CASE t.tgenabled WHEN 'A' THEN pg_catalog.obj_description(t.oid, 'pg_trigger') END
  FROM pg_catalog.pg_trigger AS t
  JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.tgname ^@ 'sessionwise_audit_' AND NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT 'function', p.proname, n.nspname, '', false, false,
       pg_catalog.obj_description(p.oid, 'pg_proc')
  FROM pg_catalog.pg_proc AS p
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = p.pronamespace
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
 WHERE c.oid = pg_catalog.to_regclass('audit_log') AND p.proname ^@ 'sessionwise_audit_'
"""

BEFORE_BACKFILL = "SELECT " + ", ".join(
    f"set_config('sessionwise.{name}', current_setting('{name}'), true), "
    f"set_config('{name}', '{value}', true)"
    for name, value in _OUTPUT.items()
)
AFTER_BACKFILL = "SELECT " + ", ".join(
    f"set_config('{name}', current_setting('sessionwise.{name}'), true)" for name in _OUTPUT
)
