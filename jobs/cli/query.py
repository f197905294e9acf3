"""The command that answers a query in SQL."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.arguments import STORE, JobArgument, StoreOption
from jobs.cli.output import echo
from jobs.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_ROWS = 1000  # of a table for a person
_LARGE = 1e6  # numbers from here on are shown with all their digits: they may be counts


class QueryFormat(StrEnum):
    """Formats of `query`."""

    table = "table"
    csv = "csv"
    json = "json"


def query(
    job: JobArgument,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One select statement.", show_default=False)],
    store: StoreOption = STORE,
    format_: Annotated[QueryFormat, typer.Option("--format", help="The format of the answer.")] = QueryFormat.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Answer a query in SQL over a job's tables.

    The tables are trials, metrics, confusion, predictions, summary, contrasts, effects and requested; "show tables"
    and "describe trials" list them and their columns. Nothing is changed, and no file is read or written.

    Example: mnistjobs query report "select model, max(test_accuracy) from trials group by model"
    """
    from jobs.api import query_job
    from jobs.report import table_csv

    answer = _readable(query_job(store, job, sql))
    if json_ or format_ is QueryFormat.json:
        echo(json.dumps([_plain(row) for row in answer.to_pylist()], indent=2, allow_nan=False))
    elif format_ is QueryFormat.csv:
        echo(table_csv(_flat(answer)).rstrip("\n"))
    else:
        _print(answer)


def _print(answer: "pa.Table") -> None:
    """Print the rows as a table, the first of many."""
    from jobs.cli.tables import lay_out, print_table
    from jobs.report import format_count

    rows = [[_cell(value) for value in row.values()] for row in answer.slice(0, _MAX_ROWS).to_pylist()]
    texts = [field.name for field in answer.schema if not _is_number(field.type)]
    print_table(lay_out(answer.column_names, rows, texts))
    if (rest := answer.num_rows - _MAX_ROWS) > 0:
        echo(f"and {format_count(rest, 'more row')}; --format csv prints all")


def _readable(answer: "pa.Table") -> "pa.Table":
    """Turn times with nanoseconds, which Python does not have, into text.

    Raises:
        InputError: A column has dates that neither Python nor Arrow can write, such as infinity.
    """
    import pyarrow as pa

    for index, field in enumerate(answer.schema):
        if not (pa.types.is_temporal(field.type) or pa.types.is_nested(field.type)):
            continue
        try:
            answer[index].to_pylist()
        except (ValueError, OverflowError) as error:
            if field.type != pa.timestamp("ns"):
                message = f"query: {field.name}: has dates that cannot be printed, such as infinity"
                raise InputError(f"{message}; allowed: text, such as {field.name}::varchar") from error
            answer = answer.set_column(index, field.name, answer[index].cast(pa.string()))
    return answer


def _flat(answer: "pa.Table") -> "pa.Table":
    """Write lists, structures and the like, for which CSV has no form, as JSON."""
    import pyarrow as pa

    for index, field in enumerate(answer.schema):
        if pa.types.is_nested(field.type):
            texts = [None if value is None else json.dumps(_plain(value)) for value in answer[index].to_pylist()]
            answer = answer.set_column(index, field.name, pa.array(texts, pa.string()))
    return answer


def _is_number(kind: "pa.DataType") -> bool:
    from pyarrow.types import is_decimal, is_floating, is_integer

    return any(check(kind) for check in (is_integer, is_floating, is_decimal))


def _cell(value: Any) -> str:  # noqa: ANN401  (a cell of any column)
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < _LARGE else f"{value:.15g}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:  # noqa: ANN401  (a value of any column)
    """Turn a value into one that JSON has; what is not a number becomes null."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if value is None or isinstance(value, bool | int | str) else str(value)
