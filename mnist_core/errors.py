"""The errors of mnist_core.

DataError                 a dataset cannot be used
├── DatasetNotFound       the dataset's files are in none of the folders searched
├── DigestMismatch        a file is intact, but its bytes are not those of the dataset it is meant to be
└── DownloadError         a dataset cannot be downloaded
    └── NoMirrorDelivered every mirror was tried; the message lists the reason of each
OutOfDeviceMemory         a pack does not fit into the memory of its device
KernelsError              the kernels that determine the last bits of a trial cannot be pinned
"""


class DataError(Exception):
    """A dataset cannot be used; the message names the file or folder, what is wrong and what is allowed."""


class DatasetNotFound(DataError):
    """The files of a named dataset are in none of the folders searched; the message lists the folders."""


class DigestMismatch(DataError):
    """A file can be read, but its sha256 is not the pinned one."""


class DownloadError(DataError):
    """A dataset cannot be downloaded: the folder is not writable, or an address is not valid."""


class NoMirrorDelivered(DownloadError):
    """No mirror delivered a file; the message has one line for each mirror, with the reason."""


class OutOfDeviceMemory(MemoryError):
    """A pack does not fit into the memory of its device; a smaller pack may fit."""


class KernelsError(Exception):
    """The kernels of this process cannot be pinned; the message names the library, and what is allowed."""
