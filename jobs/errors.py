"""The errors a user can cause, and how they read.

MnistjobsError
├── InputError   something the user wrote is wrong; exit code 2
└── StoreError   the store cannot be read or written; exit code 2
    └── OldRecordError   a job was submitted by an edition whose records this one does not read
"""

from dataclasses import dataclass


class MnistjobsError(Exception):
    """Base of every error with a message meant for the user."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong in a file: where, what (with the value), and what is allowed."""

    file: str
    line: int  # from 1; 0 where the fault belongs to the whole file
    column: int  # from 1
    where: str  # dotted path of the key, such as grid.subset_size[1]; empty for the whole file
    message: str  # what is wrong, with the value; what is allowed

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (position, self.where, self.message) if part)


class InputError(MnistjobsError):
    """Bad input; carries every fault found, in file order."""

    def __init__(self, faults: list[Fault] | str) -> None:
        self.faults = sorted(faults) if isinstance(faults, list) else []
        super().__init__("\n".join(map(str, self.faults)) if self.faults else str(faults))


class StoreError(MnistjobsError):
    """The store cannot be read or written."""


class OldRecordError(StoreError):
    """A job was submitted by an edition of mnistjobs whose records this one does not read."""


class DamagedPartWarning(UserWarning):
    """A part is not what a task wrote, and its trials count as missing."""


class ForeignPartWarning(UserWarning):
    """Parts were written by another version of mnistjobs, and their trials count as missing."""
