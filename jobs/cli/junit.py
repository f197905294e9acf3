"""A verdict as a JUnit file, which CI services show beside their tests."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from jobs.escape import escape

if TYPE_CHECKING:
    from jobs.report import Verdict


def junit_xml(found: "Verdict", job: str, line: str) -> bytes:
    """Return a JUnit file with one test case: the verdict.

    It fails where the verdict is `worse`, and is skipped while more seeds are needed. The file has all that the schemas
    of Apache Ant and of Jenkins require.

    Args:
        found: The verdict.
        job: The job, as it was named to the command.
        line: The verdict in one line.
    """
    name, text = escape(job), escape(line)
    counts = {"failures": found.verdict == "worse", "errors": False, "skipped": found.verdict == "keep going"}
    suite = ElementTree.Element(
        "testsuite",
        {"name": "mnistjobs verdict", "package": "mnistjobs", "id": "0", "tests": "1", "time": "0"}
        | {"timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "hostname": "localhost"}
        | {word: f"{int(count)}" for word, count in counts.items()},
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key in ("verdict", "mean", "low", "high", "p", "n"):
        value = getattr(found, key)
        ElementTree.SubElement(properties, "property", {"name": key, "value": "" if value is None else f"{value}"})
    case = {
        "name": f"{found.axis} {escape(f'{found.level_a} against {found.level_b}')}",
        "classname": name,
        "time": "0",
    }
    of_case = ElementTree.SubElement(suite, "testcase", case)
    if counts["failures"]:
        ElementTree.SubElement(of_case, "failure", {"message": text, "type": found.verdict}).text = text
    elif counts["skipped"]:
        ElementTree.SubElement(of_case, "skipped", {"message": text})
    ElementTree.SubElement(suite, "system-out").text = text
    ElementTree.SubElement(suite, "system-err")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written + b"\n"
