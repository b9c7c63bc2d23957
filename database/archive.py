"""The rows that one run rests on, taken out of a ledger and put into another one.

They are the run's own, its base's, and what both point at: contracts, problems, the dataset. What
is right now (claims, wishes, drivers) and what people thought (votes) stays where it is.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Select, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from database import schema
from database.backup import snapshot
from database.claims import Claim, require
from database.patience import patiently
from database.portable import readers, typed
from database.stored import as_json, storable
from database.table import Row

Rows = dict[str, list[dict[str, Any]]]
"""By table."""
AT_A_TIME = 500
"""Rows a statement carries, keys a question has."""
OF_RUN: tuple[type[Row], ...] = (
    schema.Checkpoint,
    schema.Training,
    schema.Step,
    schema.Event,
    schema.Generation,
    schema.Score,
    schema.Tally,
    schema.Answered,
    schema.Completion,
    schema.PublishedScore,
)
"""Tables whose rows are of one run each."""
SHARED: tuple[type[Row], ...] = (
    schema.Experiment,
    schema.Run,
    schema.Dataset,
    schema.Touch,
    schema.Problem,
    schema.Contract,
)
"""Tables of what runs share, and of the runs themselves."""
OF_COMPLETION: tuple[type[Row], ...] = (schema.Verdict, schema.PublishedVerdict)
TOLD_BY: Mapping[str, str] = {
    "checkpoints": "sha256",
    "completions": "text",
    "verdicts": "outcome",
    "scores": "value",
}
"""The column of a table in which two runs would differ that are not the same."""


class RowsError(Exception):
    """Rows of an archive are not those of a run, or contradict those that are here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of the rows of an archive."""

    new: int
    """Rows that were not here."""
    base_kept: bool
    """Whether the base's rows were left as they are here, because they differ."""
    not_listed: tuple[str, ...]
    """Experiments that were here before and do not list the run, as they do in the archive."""


def rows_of_run(engine: Engine, run_id: str) -> Rows:
    """Return all rows that a run rests on, as they are at one moment.

    The tables are in the order in which they are stored.

    Raises:
        RowsError: the ledger has no such run.
    """
    with snapshot(engine) as connection:
        runs = _all(connection, select(_table(schema.Run)).where(schema.Run.id == run_id))
        if not runs:
            raise RowsError(f"the ledger has no run {run_id}")
        base = runs[0]["base_run"]
        if base:
            runs += _all(connection, select(_table(schema.Run)).where(schema.Run.id == base))
        ids = [run["id"] for run in runs]
        found: Rows = {"runs": runs}
        for kind in OF_RUN:
            wanted = select(_table(kind)).where(_table(kind).c.run.in_(ids))
            found[kind.__tablename__] = _all(connection, wanted)
        answers = select(schema.Completion.id).where(schema.Completion.run.in_(ids))
        for kind in OF_COMPLETION:
            wanted = select(_table(kind)).where(_table(kind).c.completion.in_(answers))
            found[kind.__tablename__] = _all(connection, wanted)
        return _in_order(found | _shared(connection, run_id, found))


def parsed(lines: Iterable[Any]) -> Rows:
    """Return rows from the lines of an archive: a table and its columns, then its rows.

    Raises:
        RowsError: a table or a column is unknown, or a line is neither.
    """
    found: Rows = {}
    columns: list[str] = []
    table: Table | None = None
    of: dict[str, Any] = {}
    for line in lines:
        if isinstance(line, dict):
            table = _known(line)
            columns, of = line["columns"], readers(table.columns)
            found.setdefault(table.name, [])
        elif isinstance(line, list) and table is not None and len(line) == len(columns):
            row = dict(zip(columns, line, strict=True))
            found[table.name].append(_fitting(table, row, of))
        else:
            raise RowsError("a line is neither a table nor a row of one")
    return found


def refuse_foreign(rows: Rows, run_id: str) -> None:
    """Refuse rows of any run but this one and its base.

    Raises:
        RowsError: there are some, or none of the run itself.
    """
    runs = {row["id"]: row for row in rows.get("runs", [])}
    if run_id not in runs:
        raise RowsError(f"there is no row of run {run_id}")
    allowed = {run_id, runs[run_id]["base_run"]} - {None}
    named = set(runs) | {row["run"] for kind in OF_RUN for row in rows.get(kind.__tablename__, [])}
    answers = {row["id"] for row in rows.get("completions", [])}
    judged = {
        row["completion"] for kind in OF_COMPLETION for row in rows.get(kind.__tablename__, [])
    }
    if named - allowed or judged - answers:
        raise RowsError("there are rows of other runs in it")


def store(engine: Engine, rows: Rows, run_id: str, claim: Claim | None) -> Stored:
    """Store the rows of an archive in one transaction; what is here already stays as it is.

    Args:
        engine: open for writing.
        rows: as `parsed` returns them.
        run_id: of the run; another one in `rows` is its base.
        claim: on the run; None: it is not here yet.

    Raises:
        LostClaimError: the run is a driver's by now; nothing is stored.
        RowsError: there is a run of this id that answered, or was judged, otherwise.
        sqlalchemy.exc.IntegrityError: something that rows point at is missing.
    """
    base = {row["id"] for row in rows["runs"]} - {run_id}

    def act(connection: Connection) -> Stored:
        if claim is not None:
            require(connection, claim)
        differing = _differing(connection, rows)
        if run_id in differing:
            raise RowsError(
                f"run {run_id} is in the ledger with other {differing[run_id]}: it is not the same "
                "run, and stays as it is"
            )
        kept = bool(base & set(differing))
        given = _in_order(_without(rows, base) if kept else rows)
        new = sum(_insert(connection, _table_named(name), given[name]) for name in given)
        for row in rows["runs"]:
            _finish(connection, row, run_id)
        unlisted = _not_listed(connection, rows, run_id)
        return Stored(new=new, base_kept=kept, not_listed=unlisted)

    return patiently(engine, act)


def _fitting(table: Table, row: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    """A row whose values are of the types of its columns, which SQLite does not ask for."""
    try:
        read = typed(row, of)
    except (TypeError, ValueError) as error:
        raise RowsError(f"a row of {table.name} cannot be read: {error}") from None
    for column in table.columns:
        value = read[column.name] = _storable(read[column.name], column.type)
        kind: Any = (dict, list) if isinstance(column.type, JSON) else column.type.python_type
        kinds = (int, float) if kind is float else kind
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool)
        if wrong if value is not None else not column.nullable:
            raise RowsError(f"a row of {table.name} has {str(value)[:40]!r} as {column.name}")
    return read


def _storable(value: Any, kind: Any) -> Any:
    """A value as `database.writing` stores it."""
    return json.loads(as_json(value)) if isinstance(kind, JSON) else storable(value)


def _shared(connection: Connection, run_id: str, of: Rows) -> Rows:
    """What the rows of runs point at, and the experiments that asked for the run."""
    digests = [run["dataset_digest"] for run in of["runs"] if run["dataset_digest"]]
    contracts = sorted(
        {
            row[part]
            for name in ("completions", "generations", "scores", "tallies", "answered", "verdicts")
            for row in of[name]
            for part in ("asking", "judging")
            if part in row
        }
    )
    found = {
        "datasets": _where(connection, schema.Dataset, "digest", digests),
        "touches": _where(connection, schema.Touch, "dataset", digests),
        "contracts": _where(connection, schema.Contract, "id", contracts),
    }
    files = {row["content"].get("sha256") for row in found["contracts"]} - {None}
    benchmarks = {row["benchmark"] for row in of["completions"]}
    problems = _where(connection, schema.Problem, "digest", sorted(files))
    asked = _all(connection, select(_table(schema.Experiment)))
    return found | {
        "problems": [row for row in problems if row["benchmark"] in benchmarks],
        "experiments": [row for row in asked if run_id in row["runs"]],
    }


def _differing(connection: Connection, rows: Rows) -> dict[str, str]:
    """Of each run that is here and is not the same: the table in which that shows."""
    run_of = {row["id"]: row["run"] for row in rows.get("completions", [])}
    found: dict[str, str] = {}
    for name, column in TOLD_BY.items():
        table = _table_named(name)
        given = rows.get(name, [])
        here = _with_keys_of(connection, table, given)
        for row in given:
            stored = here.get(_key(table, row))
            if stored is None or _pruned(stored) or _pruned(row) or stored[column] == row[column]:
                continue
            found.setdefault(row["run"] if "run" in row else run_of[row["completion"]], name)
    return found


def _pruned(row: Mapping[str, Any]) -> bool:
    return row.get("pruned_at") is not None


def _with_keys_of(
    connection: Connection, table: Table, rows: list[dict[str, Any]]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows that are here under the keys of others, found by the first column of the key."""
    first = next(iter(table.primary_key))
    if "run" in table.columns:
        first = table.columns["run"]
    values = sorted({row[first.name] for row in rows})
    found = _where_in(connection, table, first.name, values)
    return {_key(table, row): row for row in found}


def _without(rows: Rows, runs: Collection[str]) -> Rows:
    """The rows that are not of these runs."""
    left_out = {row["id"] for row in rows.get("completions", []) if row["run"] in runs}

    def stays(row: dict[str, Any], name: str) -> bool:
        if name == "runs":
            return row["id"] not in runs
        return row.get("run") not in runs and row.get("completion") not in left_out

    return {name: [row for row in of if stays(row, name)] for name, of in rows.items()}


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Store the rows whose keys are not here; returns how many."""
    here = _with_keys_of(connection, table, rows)
    new = [row for row in rows if _key(table, row) not in here]
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).on_conflict_do_nothing()
    for start in range(0, len(new), AT_A_TIME):
        connection.execute(statement, new[start : start + AT_A_TIME])
    return len(new)


def _finish(connection: Connection, row: dict[str, Any], run_id: str) -> None:
    """Say of a run that came before it was done, that it is."""
    if row["id"] == run_id and row["state"] == "done":
        told = {name: row[name] for name in ("state", "finished_at", "provenance")}
        unfinished = update(_table(schema.Run)).where(schema.Run.id == run_id)
        connection.execute(unfinished.where(schema.Run.state != "done").values(told))


def _not_listed(connection: Connection, rows: Rows, run_id: str) -> tuple[str, ...]:
    names = [row["name"] for row in rows.get("experiments", []) if run_id in row["runs"]]
    here = _where(connection, schema.Experiment, "name", names)
    return tuple(row["name"] for row in here if run_id not in row["runs"])


def _known(line: dict[str, Any]) -> Table:
    name, columns = line.get("table"), line.get("columns")
    tables = {table.name: table for table in _stored_tables()}
    if name not in tables or not isinstance(columns, list):
        raise RowsError(f"there is a table {str(name)[:40]!r} in it that no archive has")
    expected = set(tables[name].columns.keys())
    if set(columns) != expected or len(columns) != len(expected):
        raise RowsError(f"its table {name} has other columns than those of this version")
    return tables[name]


def _stored_tables() -> list[Table]:
    names = {kind.__tablename__ for kind in (*SHARED, *OF_RUN, *OF_COMPLETION)}
    return [table for table in Row.metadata.sorted_tables if table.name in names]


def _in_order(rows: Rows) -> Rows:
    return {table.name: rows.get(table.name, []) for table in _stored_tables()}


def _table(kind: type[Row]) -> Table:
    return Row.metadata.tables[kind.__tablename__]


def _table_named(name: str) -> Table:
    return Row.metadata.tables[name]


def _key(table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key)


def _all(connection: Connection, wanted: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(wanted)]


def _where(
    connection: Connection, kind: type[Row], column: str, values: list[str]
) -> list[dict[str, Any]]:
    return _where_in(connection, _table(kind), column, values)


def _where_in(
    connection: Connection, table: Table, column: str, values: list[Any]
) -> list[dict[str, Any]]:
    found = []
    for start in range(0, len(values), AT_A_TIME):
        part = table.c[column].in_(values[start : start + AT_A_TIME])
        found += _all(connection, select(table).where(part))
    return found
