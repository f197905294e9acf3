"""The models' mathematics, fast: one backend per model and device, each held to its model by a test."""

from collections.abc import Sequence

from mnist_core.backends.interface import Device as Device
from mnist_core.backends.interface import Evaluation as Evaluation
from mnist_core.backends.interface import Networks as Networks
from mnist_core.backends.interface import Orders as Orders
from mnist_core.backends.interface import PackData as PackData
from mnist_core.backends.interface import distinct_seeds as distinct_seeds
from mnist_core.trial import Trial


def make_networks(trials: Sequence[Trial], data: PackData, device: Device = "cpu") -> Networks:
    """Make a pack's networks with their initial weights."""
    # torch takes over a second to import: only trials that need it pay.
    if device == "cuda":
        import torch

        from mnist_core.backends.stacked import StackedPack

        return StackedPack(trials, data, torch.device(device))
    if trials[0].model == "mlp":
        from mnist_core.backends.mlp_numpy import MLPPack

        return MLPPack(trials, data)
    from mnist_core.backends.cnn_cpu import CNNPack

    return CNNPack(trials, data)
