"""The summary as a LaTeX table: exact text, hostile text, and a LaTeX that compiles both."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.study_tables import study, summary_of, together

from jobs.report.latex import escape_latex, summary_latex
from jobs.report.precision import add_seeds_needed

TABLE = r"""% Needs \usepackage{booktabs} and \usepackage{siunitx}.
\begin{table}
\centering
\begin{tabular}{lrrrrS[table-format=2.2]rS[table-format=1.2]S[table-format=2.2]S[table-format=2.2]S[table-format=1.2]}
\toprule
{model} &
{\shortstack[r]{subset \\ size}} &
{\shortstack[r]{adaptive \\ lr}} &
{epochs} &
{n} &
{\shortstack[r]{test \\ accuracy (\%)}} &
{\shortstack[r]{interval \\ (95 \%)}} &
{\shortstack[r]{std \\ (pp)}} &
{\shortstack[r]{train \\ (\%)}} &
{\shortstack[r]{validation \\ (\%)}} &
{\shortstack[r]{gap \\ (pp)}} \\
\midrule
MLP & 2,000 & no & 3 & 3 & 95.00 & {[}82.58, 100.00\textsuperscript{*}] & 5.00 & 99.00 & 93.00 & 6.00 \\
MLP & 2,000 & no & 4 & 1 of 2 & 90.00 &  & {--} & 99.00 & 93.00 & 6.00 \\
\bottomrule
\end{tabular}
\par {\footnotesize\raggedright model MLP, subset size 2,000, adaptive lr no, epochs 4: n is 1 of 2: 1 diverged\par}
\par {\footnotesize\raggedright Interval: 95 \%, for the mean over seeds, on this test set of 1,000 images; it does not cover other test images.\par}
\par {\footnotesize\raggedright \textsuperscript{*} cut to what an accuracy can be.\par}
\end{table}
"""  # noqa: E501
HOSTILE = "a\\b{c}$d&e#f%g_h^i~j<k>l|m\"n'o`p[q]*r--s''t,,u–v±w†x\ny\x00z\u00e9\U0001f600\\input{/etc/passwd}"


def test_a_summary_is_a_table_with_rules_and_aligned_numbers() -> None:
    summary = summary_of(*together(study(0.90, 0.95, 1.0), study(0.90, None, name="b", epochs=4)))
    assert summary_latex(summary) == TABLE


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("100 % of a_b & c#1", r"100 \% of a\_b \& c\#1"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("a--b ''c'' ,,", "a-{}-b '{}'c'{}' ,{},"),
        ("[1, 2]\nnext", "{[}1, 2] next"),
        ("é\u202e", r"\texttt{U+00E9}\texttt{U+202E}"),
    ],
)
def test_text_is_printed_as_it_is(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def latex_command() -> list[str] | None:
    """Return the command that compiles a document, where a LaTeX with the two packages is installed."""
    if shutil.which("tectonic"):
        return ["tectonic", "table.tex"]
    if not shutil.which("pdflatex") or not shutil.which("kpsewhich"):
        return None
    found = subprocess.run(["kpsewhich", "siunitx.sty", "booktabs.sty"], capture_output=True, text=True, check=False)
    return ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"] if found.returncode == 0 else None


@pytest.mark.skipif(latex_command() is None, reason="no LaTeX with siunitx: apt-get install texlive-science")
def test_latex_compiles_tables_of_every_kind(tmp_path: Path) -> None:
    plain = together(
        study(0.90, 0.95, 1.0),
        study(0.9, None, name="b", epochs=4),
        study(0.9, 0.8, name="c", epochs=5),
        study(0.1, 0.9, 0.1, name="d", epochs=6),
        study(0.5, 0.5, 0.5, name="e", epochs=7),
        study(None, name="f", epochs=8),
        study(0.7, 0.8, 0.9, name="g", epochs=9, model=HOSTILE),
    )
    summary = summary_of(*plain)
    tables = [summary_latex(each) for each in (summary, add_seeds_needed(summary, 0.002), summary.slice(0, 0))]
    packages = r"\usepackage[margin=1cm,landscape]{geometry}\usepackage{booktabs}\usepackage{siunitx}"
    document = [r"\documentclass{article}", packages, r"\begin{document}", *tables, r"\end{document}"]
    (tmp_path / "table.tex").write_text("\n".join(document), encoding="utf-8")
    command = latex_command()
    assert command
    made = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300, check=False
    )
    assert made.returncode == 0, made.stdout[-3000:]
    assert (tmp_path / "table.pdf").stat().st_size > 10_000
