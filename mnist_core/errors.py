"""The errors of mnist_core: DataError <- DownloadError and MissingDatasetError; and OutOfDeviceMemory."""


class DataError(Exception):
    """A dataset cannot be used; the message says where, what is wrong and what is allowed."""


class DownloadError(DataError):
    """No mirror delivered the dataset."""


class MissingDatasetError(DataError):
    """A dataset that can be downloaded is not on this machine."""


class OutOfDeviceMemory(MemoryError):
    """A pack does not fit into the memory of its device; a smaller one may."""
