"""Run the commands of docs/tutorial.md and put what they print into the page: `python docs/tutorial_page.py`."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("tutorial.md")
_FENCES = re.compile(r"```(?P<kind>sh|yaml|python|text)\n(?P<text>.*?)```\n", re.DOTALL)
_JOB_ID = re.compile(r"\b[a-z]+-\d{8}-\d{6}-[0-9a-f]{4}\b")
_JOB_IDS = ("decay-20261201-101532-8f3c", "decay-20261201-102107-51d0")  # what the page calls its jobs
_HOME = "/home/you/study"
# The command line as it is installed, but for where trials run and the progress that it prints.
_PROGRAM = """\
#!/bin/sh
test "$1" = submit && set -- "$@" --in-process --quiet
exec {python} -m mnistjobs "$@"
"""
_TIMEOUT_S = 600.0


def renewed_page(page: str, folder: Path) -> str:
    """Run the page from top to bottom and return it with what its commands print.

    Args:
        page: Its Markdown. A fence `yaml` is written to study.yaml; `python` and `sh` are run, and a fence `text` holds
            what the fence before it prints. A command may end in `# exit code N`.
        folder: An empty one to run it in.

    Raises:
        RuntimeError: A command ends with another exit code than the page says.
    """
    program = folder / ".bin" / "mnistjobs"
    program.parent.mkdir()
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    printed = ""

    def renew(fence: re.Match[str]) -> str:
        nonlocal printed
        if fence["kind"] == "text":
            return f"```text\n{printed}```\n"
        if fence["kind"] == "yaml":
            (folder / "study.yaml").write_text(fence["text"])
        else:
            printed = _run(fence["kind"], fence["text"], folder)
        return fence[0]

    return _with_fixed_names(_FENCES.sub(renew, page), folder)


def _run(kind: str, text: str, folder: Path) -> str:
    shell = ["bash", "-c"] if kind == "sh" else [sys.executable, "-c"]
    path = f"{folder / '.bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [*shell, text], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        check=False, timeout=_TIMEOUT_S,
    )  # fmt: skip
    expected = int(match[1]) if (match := re.search(r"# exit code (\d+)", text)) else 0
    if done.returncode != expected:
        raise RuntimeError(f"{text}: exit code {done.returncode}, not {expected}\n{done.stdout}{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def _with_fixed_names(page: str, folder: Path) -> str:
    """Give folder and jobs the names that the page has for them, and leave out what depends on the machine's speed."""
    page = re.sub(r" \(~.*at once\)$", "", page.replace(str(folder), _HOME), flags=re.MULTILINE)
    found = [job_id for job_id in dict.fromkeys(_JOB_ID.findall(page)) if job_id not in _JOB_IDS]
    names = dict(zip(found, _JOB_IDS, strict=True))
    return _JOB_ID.sub(lambda match: names.get(match[0], match[0]), page)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(renewed_page(PAGE.read_text(encoding="utf-8"), Path(name)), encoding="utf-8")
