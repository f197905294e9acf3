"""The devices of this machine, and the number of threads that torch uses on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def has_cuda() -> bool:
    """Return whether torch can compute on a GPU of this machine."""
    # Importing torch takes over a second: without a device file there is no need to ask it.
    if not [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("dxg")]:
        return False
    import torch

    return torch.cuda.is_available()


def gpu_name() -> str:
    """Return the name of the GPU that torch computes on."""
    import torch

    return torch.cuda.get_device_name()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Limit the threads of torch's CPU operators to `count` inside the context, and restore the limit afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
