"""Answer a query in SQL over Arrow tables, with DuckDB, which sees nothing else."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain, count
from types import ModuleType
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.errors import ExtraMissingError, InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MakeTable = Callable[[], pa.Table]

# No files, no network, no extensions, and no variables of the Python program that asks.
_SANDBOX: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
}
_ALLOWED = ("SELECT", "EXPLAIN", "MULTI")  # the types of statements; a pivot consists of several
_POLL_S = 0.1
_BY_NAME = re.compile(r"\bquery(_table)?\s*\(", re.IGNORECASE)  # functions that take the name of a table as text


def run_query(sql: str, tables: Mapping[str, tuple[pa.Schema, MakeTable]]) -> pa.Table:
    """Answer one query; a table that the query does not mention is not made.

    Args:
        sql: One statement that changes nothing.
        tables: By the name that the query has for it, the schema of a table and what makes it.

    Returns:
        The rows of the answer; a name that several columns have is numbered, as in `seed`, `seed_1`.

    Raises:
        InputError: The query cannot be answered, or is no query.
        ExtraMissingError: DuckDB is not installed.
    """
    duckdb = _import_duckdb()
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in sql):
        raise InputError("query: is not text in UTF-8; allowed: one select statement")
    with duckdb.connect(":memory:", config=_SANDBOX) as connection:
        try:
            _check_statement(connection, sql)
            for name, (schema, make) in tables.items():
                is_mentioned = re.search(rf"\b{name}\b", sql, re.IGNORECASE) or _BY_NAME.search(sql)
                connection.register(name, make() if is_mentioned else schema.empty_table())
            connection.execute("set TimeZone = 'UTC'; set lock_configuration = true")
            answer = _answer(connection, sql)
            return answer.rename_columns(_distinct(answer.column_names))
        except duckdb.Error as error:
            message = str(error).rstrip()
            raise InputError(f"query: {message}\nallowed: a select over {', '.join(tables)}") from error


def _import_duckdb() -> ModuleType:
    try:
        import duckdb
    except ImportError as error:
        raise ExtraMissingError("duckdb", "query") from error
    return duckdb


def _check_statement(connection: "DuckDBPyConnection", sql: str) -> None:
    types = [statement.type.name for statement in connection.extract_statements(sql)]
    if len(types) != 1:
        found = f"{len(types)} statements" if types else "no statement"
        raise InputError(f"query: holds {found}; allowed: one select statement")
    if types[0] not in _ALLOWED:
        raise InputError(f"query: {types[0].lower()} changes something; allowed: one select statement")


def _answer(connection: "DuckDBPyConnection", sql: str) -> pa.Table:
    """Answer the query in a thread, so that Ctrl-C ends it at once."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(lambda: connection.sql(sql).to_arrow_table())
        try:
            while not answer.done():  # an endless wait would not notice an interrupt that another thread gets
                wait([answer], _POLL_S)
            return answer.result()
        except BaseException:
            while not answer.done():  # an interrupt that comes before the query has begun is lost
                connection.interrupt()
                wait([answer], _POLL_S)
            raise


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the repetitions of names, as DuckDB does in a table."""
    found: list[str] = []
    for name in names:
        candidates = chain([name], (f"{name}_{number}" for number in count(1)))
        found.append(next(each for each in candidates if each not in found))
    return found
