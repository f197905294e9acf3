"""The summary as a LaTeX table for a paper: booktabs for the lines, siunitx for the numbers."""

import re
from collections.abc import Sequence

import pyarrow as pa

from jobs.report.formats import (
    ACCURACY_HEADER,
    BINOMIAL_MARK,
    COUNT_HEADERS,
    CUT_MARK,
    N_HEADER,
    NO_VALUE,
    TEXT_HEADERS,
    summary_cells,
    summary_notes,
)

_PREAMBLE = r"% Needs \usepackage{booktabs} and \usepackage{siunitx}."
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",
    "`": r"\textasciigrave{}",
    CUT_MARK: r"\textsuperscript{*}",
    "\0": "{}",
    "[": "{[}",  # after \\ it would begin an optional argument
    NO_VALUE: "--",
    BINOMIAL_MARK: r"\textsuperscript{\textdagger}",
    "±": r"\(\pm\)",
}
_LIGATURE = re.compile(r"(?<=([-,']))(?=\1)")  # where two characters would become one: a dash or a quotation mark
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line; characters that pdfLaTeX lacks become their code points."""
    apart = _LIGATURE.sub("\0", " ".join(text.replace("\0", " ").split()))
    return "".join(_SPECIAL.get(each) or _printable(each) for each in apart)


def _printable(character: str) -> str:
    return character if " " <= character <= "~" else rf"\texttt{{U+{ord(character):04X}}}"


def summary_latex(summary: pa.Table) -> str:
    """Format a summary as a LaTeX table, with accuracies in percent, and below it the notes on its figures.

    Args:
        summary: A table with the schema SUMMARY, with or without the columns of jobs.report.precision.NEEDED.
    """
    columns, notes = _columns(summary)
    lines = [
        _PREAMBLE,
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{''.join(_specification(name, cells) for name, cells in columns.items())}}}",
        r"\toprule",
        _line([_heading(name) for name in columns], " &\n"),
        r"\midrule",
        *(_line(row) for row in zip(*(_cells(name, cells) for name, cells in columns.items()), strict=True)),
        r"\bottomrule",
        r"\end{tabular}",
        *(
            rf"\par {{\footnotesize\raggedright {escape_latex(note)}\par}}"
            for note in (*notes, *summary_notes(summary))
        ),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _columns(summary: pa.Table) -> tuple[dict[str, list[str]], list[str]]:
    """Return the cells of each column, percent signs in the names; and a line for each configuration's note."""
    header, rows = summary_cells(summary)
    cells = {name: [row[index] for row in rows] for index, name in enumerate(header) if name not in COUNT_HEADERS}
    notes = cells.pop("note", [])
    settings = header[: header.index(N_HEADER)]
    columns: dict[str, list[str]] = {}
    for name, each in cells.items():
        if name == ACCURACY_HEADER:
            columns["test accuracy (%)"] = [cell.partition(" ")[0] for cell in each]
            columns["interval (95 %)"] = [cell.partition(" ")[2].removeprefix("%").strip() for cell in each]
        elif name == N_HEADER:
            columns[name] = [cell.partition(",")[0] for cell in each]  # the notes count collapsed trials
        elif any(cell.endswith(" %") for cell in each):
            columns[f"{name} (%)"] = [cell.removesuffix(" %") for cell in each]
        else:
            columns[name.strip("[]").replace("95 % interval, new images", "new images")] = each
    named = (", ".join(f"{name} {cells[name][index]}" for name in settings) for index in range(len(rows)))
    return columns, [f"{name}: {note}" for name, note in zip(named, notes, strict=False) if note]


def _is_number(name: str, cells: Sequence[str]) -> bool:
    """Tell whether siunitx is to align a column: figures with decimals, and cells without one."""
    return name.endswith((" (%)", " (pp)")) and all(_NUMBER.fullmatch(cell) or cell in ("", NO_VALUE) for cell in cells)


def _specification(name: str, cells: Sequence[str]) -> str:
    if not _is_number(name, cells):
        return "l" if name in TEXT_HEADERS else "r"
    parts = [cell.lstrip("-").replace(",", "").partition(".") for cell in cells if _NUMBER.fullmatch(cell)]
    whole, decimals = (max((len(part[index]) for part in parts), default=1) for index in (0, 2))
    sign = "-" if any(cell.startswith("-") for cell in cells) else ""
    return f"S[table-format={sign}{whole}.{decimals}]"


def _heading(name: str) -> str:
    """Write a name on two lines, in braces, so that siunitx takes it for text."""
    side = "l" if name in TEXT_HEADERS else "r"
    lines = [escape_latex(part) for part in name.split(" ", 1)]
    return f"{{{lines[0]}}}" if len(lines) == 1 else rf"{{\shortstack[{side}]{{{lines[0]} \\ {lines[1]}}}}}"


def _cells(name: str, cells: Sequence[str]) -> list[str]:
    if not _is_number(name, cells):
        return [escape_latex(cell) for cell in cells]
    return [cell.replace(",", "") if _NUMBER.fullmatch(cell) else f"{{{escape_latex(cell)}}}" for cell in cells]


def _line(cells: Sequence[str], separator: str = " & ") -> str:
    return separator.join(cells) + r" \\"
