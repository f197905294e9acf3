"""What to do about an error or a warning: the commands that help, which the code below the command line does not know.

HINTS is keyed by class; of an exception's classes, the most special one with a hint counts.
"""

from collections.abc import Mapping

from cluster import AddressError, ClusterLostError, LocalRayError
from jobs.errors import DamagedPartWarning, OldRecordError
from mnist_core.errors import DatasetNotFound, DigestMismatch, NoMirrorDelivered

_TRAIN_AGAIN = "`mnistjobs submit GRID` trains trials again that are missing"

HINTS: Mapping[type[Exception], str] = {
    DatasetNotFound: "run `mnistjobs data fetch mnist`",
    DigestMismatch: "then run `mnistjobs data fetch mnist`",
    NoMirrorDelivered: "`mnistjobs data fetch mnist --mirror URL` uses another one",
    AddressError: "`--address local` starts Ray on this machine",
    LocalRayError: "`--in-process` trains without Ray",
    ClusterLostError: "what has finished is stored; submit the same grid again, to another cluster if need be",
    OldRecordError: "submit its grid again with `mnistjobs submit GRID`, or read it with the edition that wrote it",
    DamagedPartWarning: _TRAIN_AGAIN,
}
LOST_TRIALS = _TRAIN_AGAIN
OUTDATED_FILES = "`mnistjobs report JOB` writes the files of a report again"


def with_hint(error: Exception) -> str:
    """Return the error's message and what to do about it.

    A message that names a command already is left as it is.
    """
    message = str(error)
    hint = next((HINTS[kind] for kind in type(error).__mro__ if kind in HINTS), "")
    return f"{message}; {hint}" if hint and "`mnistjobs" not in message else message
