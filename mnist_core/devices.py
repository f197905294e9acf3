"""What this machine can compute on."""

from pathlib import Path


def has_cuda() -> bool:
    """Tell whether torch can compute on a GPU here."""
    # torch takes over a second to import: not where there is nothing to ask it about.
    if not [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("dxg")]:
        return False
    import torch

    return torch.cuda.is_available()
