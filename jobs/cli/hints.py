"""What to do about an error or a warning: the commands that help, which the code below the command line does not know.

HINTS is keyed by class; of an exception's classes, the most special one with a hint counts.
"""

from collections.abc import Mapping

from cluster import AddressError, ClusterLostError, JobClientMissing, LocalRayError, UnauthenticatedError
from jobs.errors import (
    DamagedPartWarning,
    ExtraMissingError,
    LostRecordError,
    LostWeightsError,
    OldRecordError,
    ReportError,
)
from mnist_core.errors import DatasetNotFound, DigestMismatch, KernelsError, NoMirrorDelivered

_TRAIN_AGAIN = "`mnistjobs submit GRID` trains trials again that are missing"

HINTS: Mapping[type[Exception], str] = {
    DatasetNotFound: "run `mnistjobs data fetch mnist`",
    DigestMismatch: "then run `mnistjobs data fetch mnist`",
    NoMirrorDelivered: "`mnistjobs data fetch mnist --mirror URL` uses another one",
    AddressError: "`--address local` starts Ray on this machine",
    UnauthenticatedError: "`--allow-unauthenticated` uses it all the same",
    ExtraMissingError: "run `pip install 'mnistjobs[EXTRA]'`",
    JobClientMissing: "run `pip install 'mnistjobs[cluster]'`",
    KernelsError: "`train: {numerics: native}` in the grid lets each CPU choose its kernels, under other trial ids",
    LocalRayError: "`--in-process` trains without Ray",
    ClusterLostError: "what has finished is stored; submit the same grid again, to another cluster if need be",
    OldRecordError: "submit its grid again with `mnistjobs submit GRID`, or read it with the edition that wrote it",
    ReportError: "`mnistjobs report JOB` writes the report, with more memory",
    LostRecordError: "`mnistjobs submit GRID` makes a new job of the same grid; stored trials are not trained again",
    LostWeightsError: f"`mnistjobs verify JOB` moves damaged weights away; {_TRAIN_AGAIN}",
    DamagedPartWarning: _TRAIN_AGAIN,
}
LOST_TRIALS = _TRAIN_AGAIN  # a trial whose weights are lost is missing, too
ALL_FAULTS = "`mnistjobs plan GRID --json` lists all"
OUTDATED_FILES = "`mnistjobs report JOB` writes the files of a report again"


def with_hint(error: Exception) -> str:
    """Return the error's message and what to do about it.

    A message that names a command already is left as it is.
    """
    message = str(error)
    hint = next((HINTS[kind] for kind in type(error).__mro__ if kind in HINTS), "")
    if isinstance(error, ExtraMissingError):
        hint = hint.replace("EXTRA", error.extra)
    if not hint or "`mnistjobs" in message:
        return message
    separator = "\n" if "\n" in message else "; "  # a list of reasons is followed by a line of its own
    return f"{message}{separator}{hint}"
