"""Train packs fast: one backend per model and device.

Each backend computes the mathematics of a model in `mnist_core.models`. Its docstring names that model, and the tests
that compare the two.
"""

from collections.abc import Sequence

from mnist_core.backends.interface import Device as Device
from mnist_core.backends.interface import Evaluation as Evaluation
from mnist_core.backends.interface import Networks as Networks
from mnist_core.backends.interface import Orders as Orders
from mnist_core.backends.interface import PackData as PackData
from mnist_core.backends.interface import distinct_seeds as distinct_seeds
from mnist_core.trial import Trial


def make_networks(trials: Sequence[Trial], data: PackData, device: Device = "cpu") -> Networks:
    """Create the networks of a pack, with their initial weights.

    Args:
        trials: Trials of one shape (`mnist_core.trial.pack_shape`).
        data: The images they train on and are evaluated on.
        device: Where to train them.

    Raises:
        OutOfDeviceMemory: The pack does not fit into the memory of the device.
    """
    # Importing torch takes over a second, so it is imported only if the trials need it.
    if device == "cuda":
        import torch

        from mnist_core.backends.stacked import StackedPack

        return StackedPack(trials, data, torch.device(device))
    if trials[0].model == "mlp":
        from mnist_core.backends.mlp_numpy import MLPPack

        return MLPPack(trials, data)
    from mnist_core.backends.cnn_cpu import CNNPack

    return CNNPack(trials, data)
