"""The errors of mnist_core: DataError <- DownloadError."""


class DataError(Exception):
    """A dataset cannot be used; the message says where, what is wrong and what is allowed."""


class DownloadError(DataError):
    """No mirror delivered the dataset."""
