"""Write a job as an RO-Crate: its files, and beside them a description that outlives this tool.

The description follows the profile Process Run Crate: the job is an action of a piece of software that made the files
from the grid. https://www.researchobject.org/ro-crate and https://www.researchobject.org/workflow-run-crate
"""

import io
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import ExtraMissingError, StoreError

if TYPE_CHECKING:
    from rocrate.model import ContextEntity, Entity
    from rocrate.rocrate import ROCrate

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TABLES = {
    "trials": "One row per trial: settings, results, and where it was trained.",
    "metrics": "Losses and accuracies after each epoch.",
    "confusion": "Confusion matrices on the test set.",
    "predictions": "What each trial predicted for each test image.",
    "summary": "Accuracies per configuration, with intervals over the seeds.",
    "contrasts": "Differences between configurations, paired by seed.",
    "effects": "Effects of the settings, averaged over the others.",
}
_TYPES = {".parquet": "application/vnd.apache.parquet", ".md": "text/markdown", ".yaml": "application/yaml"}


@dataclass(frozen=True)
class JobFiles:
    """A job as it is archived."""

    job_id: str
    name: str
    grid: str  # the YAML
    dataset: str
    dataset_fingerprint: str
    provenance: Mapping[str, str]  # versions, host and commit
    submitted_at: datetime
    finished_at: datetime | None  # None while the job has not ended
    is_complete: bool  # whether it ended with all that was asked for
    summary: str  # what came out, in a sentence or two
    files: Mapping[str, bytes]  # tables, figures and page, by name


def write_ro_crate(folder: Path, job: JobFiles) -> int:
    """Write the files of a job and `ro-crate-metadata.json`.

    Args:
        folder: Where to write; made if it does not exist.
        job: What to write.

    Returns:
        The number of files written, without the description.

    Raises:
        ExtraMissingError: rocrate is not installed.
        StoreError: A file cannot be written.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise ExtraMissingError("rocrate", "ro-crate") from error
    crate = ROCrate()
    crate.name = f"{job.name}: a replicated training study"
    crate.description = job.summary
    crate.datePublished = job.finished_at or job.submitted_at
    crate.root_dataset["conformsTo"] = _add(crate, _PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
    grid = _add_file(crate, "grid.yaml", job.grid.encode(), "The grid: which trials were asked for.")
    results = [_add_file(crate, name, content, _describe(name)) for name, content in sorted(job.files.items())]
    crate.root_dataset["mentions"] = _add_action(crate, job, grid, results)
    try:
        crate.write(folder)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}; allowed: a folder of yours") from error
    return len(results) + 1


def _add(crate: "ROCrate", id_: str, kind: str, **properties: object) -> "ContextEntity":
    from rocrate.model import ContextEntity

    return crate.add(ContextEntity(crate, id_, properties={"@type": kind, **properties}))


def _add_file(crate: "ROCrate", name: str, content: bytes, description: str) -> "Entity":
    suffix = Path(name).suffix
    kind = _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    properties = {"name": name, "encodingFormat": kind, "description": description, "contentSize": str(len(content))}
    return crate.add_file(io.BytesIO(content), name, properties=properties)


def _describe(name: str) -> str:
    """Say what a file of a report holds."""
    stem = name.partition(".")[0]
    if stem in _TABLES:
        return _TABLES[stem]
    return (
        "The report: answers, figures and tables in one page." if name == "report.html" else "A figure of the report."
    )


def _add_action(crate: "ROCrate", job: JobFiles, grid: "Entity", results: "Sequence[Entity]") -> "Entity":
    """Describe what the job did, with what, from what and on which machine."""
    version = job.provenance.get("mnistjobs_version", "")
    requirements = [
        _add(crate, f"#{name}", "SoftwareApplication", name=name.removesuffix("_version"), version=value)
        for name, value in sorted(job.provenance.items())
        if name.endswith("_version") and name != "mnistjobs_version"
    ]
    commit = {"softwareVersion": job.provenance["git_commit"]} if "git_commit" in job.provenance else {}
    software = _add(
        crate, "#mnistjobs", "SoftwareApplication", name="mnistjobs", version=version, **commit,
        softwareRequirements=requirements,
    )  # fmt: skip
    dataset = _add(crate, "#dataset", "CreativeWork", name=job.dataset, identifier=f"sha256:{job.dataset_fingerprint}")
    status = "ActiveActionStatus"
    if job.finished_at:
        status = "CompletedActionStatus" if job.is_complete else "FailedActionStatus"
    ended = {"endTime": job.finished_at.isoformat()} if job.finished_at else {}
    properties = {
        "name": f"Job {job.job_id}",
        "description": job.summary,
        "startTime": job.submitted_at.isoformat(),
        "actionStatus": f"http://schema.org/{status}",
        **ended,
    }
    return crate.add_action(software, f"#{job.job_id}", object=[grid, dataset], result=results, properties=properties)
