"""The errors and warnings that mnistjobs raises on purpose.

MnistjobsError
├── InputError   the user's input is wrong; carries an InputFault for each mistake in a file; exit code 2
├── ExtraMissingError   a library is not installed that comes with an extra; exit code 2
├── ReportError   a report cannot be made; what it is made from is stored; exit code 2
└── StoreError   the store cannot be read or written; exit code 2
    ├── OldRecordError   a job was submitted by an edition whose records this one does not read
    ├── LostRecordError  what a job asked for, or its whole folder, is lost
    ├── LostWeightsError the weights of stored trials are missing or damaged
    ├── JobHeldError     a job has another driver
    └── LeaseLostError   another driver has taken the job over from this one

UserWarning
├── DamagedPartWarning   a part is damaged; its trials count as missing
└── ForeignPartWarning   parts were written by another version; their trials count as missing
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


class MnistjobsError(Exception):
    """Base of all errors whose message is meant for the user."""


@dataclass(frozen=True)
class Edit:
    """Replace a range of a file's text."""

    start: int  # characters from the beginning of the file
    end: int
    text: str


Correction = tuple[Edit, ...]  # edits whose ranges do not overlap


@dataclass(frozen=True, order=True)
class InputFault:
    """Describe one mistake in a file. Faults sort in file order."""

    file: str  # as the user named it
    line: int  # from 1; 0 if the fault concerns the whole file
    column: int  # from 1; 0 if the fault concerns the whole file
    where: str  # dotted path of the key, such as grid.subset_size[1]; empty if the fault concerns the whole file
    message: str  # what is wrong, with the value, and what is allowed
    # What the message advises, as edits of the file; several are alternatives.
    corrections: tuple[Correction, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (position, self.where, self.message) if part)


class InputError(MnistjobsError):
    """The user's input is wrong.

    Args:
        faults: All mistakes found in a file, or a message where no file is involved.

    Attributes:
        faults: The mistakes in file order; empty if there is only a message. `dataclasses.asdict` makes them plain.
    """

    def __init__(self, faults: Sequence[InputFault] | str) -> None:
        self.faults = [] if isinstance(faults, str) else sorted(faults)
        super().__init__(faults if isinstance(faults, str) else "\n".join(map(str, self.faults)))


class ExtraMissingError(MnistjobsError):
    """A library is not installed that only some commands need.

    Args:
        library: Its name.
        extra: The extra of this project that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{library} is not installed; allowed: mnistjobs with the extra '{extra}', which brings it")


class ReportError(MnistjobsError):
    """A report cannot be made; what it is made from is stored."""


class StoreError(MnistjobsError):
    """The store cannot be read or written."""


class OldRecordError(StoreError):
    """A job was submitted by an edition of mnistjobs whose records this one does not read."""


class LostRecordError(StoreError):
    """The list of the trials that a job asked for, or its whole folder, is lost."""


class LostWeightsError(StoreError):
    """The weights of stored trials are missing or damaged."""


class JobHeldError(StoreError):
    """A job has a driver already, or somebody else has just become its driver."""


class LeaseLostError(StoreError):
    """Another driver has taken the job over from this one."""


class DamagedPartWarning(UserWarning):
    """A part differs from what a task wrote; its trials count as missing."""


class ForeignPartWarning(UserWarning):
    """Parts were written by another version of mnistjobs; their trials count as missing."""
