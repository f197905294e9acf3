"""Time the CPU backend of the CNN and plain eager PyTorch on one core; the limit is the same arithmetic as SGEMM.

Plain PyTorch is the seed report's network under autograd and torch.optim.SGD, evaluated under no_grad in batches of
256. The unit is an epoch of 2,000 images, or a fifth of an epoch of 50,000 (10,000 images, and 1,000 for validation).
Both variants are first checked to find the same losses. The backend has the pinned kernels that trials train with;
plain PyTorch and SGEMM have those that the CPU prefers. Run as `python benchmarks/cnn.py`; without MNIST it uses random
images.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from cnn_fixed_rate import SeedReportNetwork
from measure import Times, interleaved, one_thread, print_machine, print_times
from torch.nn import functional as F

from mnist_core.backends.cnn_cpu import CNNPack
from mnist_core.backends.interface import Images, PackData, batches
from mnist_core.cost import flops
from mnist_core.data import Dataset, Split, load_dataset
from mnist_core.errors import DataError
from mnist_core.kernels import training_with
from mnist_core.trial import Trial

BATCH, LEARNING_RATE = 256, 0.001
SAME_LOSS = 1e-4  # relative, after an epoch in float32 with another order of sums
SGEMM = torch.rand(1024, 1024)


class Plain:
    """Train and evaluate the seed report's network under autograd."""

    def __init__(self, pack: CNNPack) -> None:
        self._network = SeedReportNetwork()
        self._network.load_state_dict({name: torch.from_numpy(value) for name, value in pack.weights(0).items()})
        self._optimizer = torch.optim.SGD(self._network.parameters(), lr=LEARNING_RATE)

    def train(self, data: Images, order: np.ndarray) -> None:
        """Train one epoch on the images in this order."""
        images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
        for batch in batches(order, BATCH):
            index = torch.from_numpy(batch)
            self._optimizer.zero_grad()
            loss = F.cross_entropy(self._network(images[index]), labels[index], reduction="sum")
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    @torch.no_grad()
    def evaluate(self, data: Images) -> tuple[float, float]:
        """Return the mean loss and the accuracy."""
        loss, right = 0.0, 0
        for images, labels in zip(*(torch.from_numpy(x).split(BATCH) for x in (data.images, data.labels)), strict=True):  # type: ignore[no-untyped-call]
            logits = self._network(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum())
        return loss / len(data), right / len(data)


def main() -> None:
    """Print the tables."""
    dataset = _dataset()
    print_machine()
    for title, subset_size, validation_size, rounds in (
        ("epoch of 2,000", 2_000, 5_000, 15),
        ("fifth of an epoch of 50,000", 10_000, 1_000, 9),
    ):
        trial = Trial(model="cnn", subset_size=subset_size, adaptive_lr=False, seed=0, epochs=1)
        _time_epoch(title, trial, _shortened(dataset, validation_size), rounds)
    one_batch = Trial(model="cnn", subset_size=BATCH, adaptive_lr=False, seed=0, epochs=1)
    _time_parts(one_batch, _shortened(dataset, BATCH), rounds=80)


def _time_epoch(title: str, trial: Trial, dataset: Dataset, rounds: int) -> None:
    """Time training and the two evaluations of an epoch."""
    pack, plain, order = _pair(trial, dataset)
    train, validation = pack.data.subsets[trial.seed], pack.data.validation

    @training_with("pinned")
    def backend_losses() -> list[float]:
        pack.train_epoch({trial.seed: order}, [LEARNING_RATE])
        return [found.loss for split in ("train", "validation") for found in pack.evaluate(split)]

    def plain_losses() -> list[float]:
        plain.train(train, order)
        return [plain.evaluate(data)[0] for data in (train, validation)]

    np.testing.assert_allclose(backend_losses(), plain_losses(), rtol=SAME_LOSS)
    _print(title, {"plain": plain_losses, "backend": backend_losses}, flops(trial, len(validation)), rounds)


def _time_parts(trial: Trial, dataset: Dataset, rounds: int) -> None:
    """Time a step on one batch, and the evaluation of one batch."""
    pack, plain, order = _pair(trial, dataset)
    data, both = pack.data.subsets[trial.seed], flops(trial, 0)
    forward = flops(trial, BATCH) - both
    steps: dict[str, Callable[[], object]] = {
        "plain": lambda: plain.train(data, order),
        "backend": training_with("pinned")(lambda: pack.train_epoch({trial.seed: order}, [LEARNING_RATE])),
    }
    _print("step of 256", steps, both - forward, rounds)
    passes: dict[str, Callable[[], object]] = {
        "plain": lambda: plain.evaluate(data),
        "backend": training_with("pinned")(lambda: pack.evaluate("train")),
    }
    _print("evaluation of 256", passes, forward, rounds)


def _print(title: str, variants: dict[str, Callable[[], object]], work: float, rounds: int) -> None:
    """Print the times of the variants and of an SGEMM with the same number of operations."""
    times: dict[str, Times] = interleaved({**variants, "SGEMM": lambda: _sgemm(work)}, rounds)
    print(f"\n{work / times['SGEMM'].median / 1e9:.0f} GFLOP/s of SGEMM")
    print_times(title, times, limit="SGEMM", baselines=["plain"])


def _sgemm(work: float) -> None:
    """Do `work` operations in products of 1024 x 1024 matrices, the last with fewer rows."""
    size = len(SGEMM)
    rows = round(work / (2 * size * size))
    for start in range(0, rows, size):
        torch.mm(SGEMM[: min(size, rows - start)], SGEMM)


def _pair(trial: Trial, dataset: Dataset) -> tuple[CNNPack, Plain, np.ndarray]:
    """Create a pack of one trial, the plain network with the same weights, and an order of the images."""
    pack = CNNPack([trial], PackData(dataset, {trial.seed: np.arange(trial.subset_size)}))
    return pack, Plain(pack), np.random.default_rng(0).permutation(trial.subset_size)


def _shortened(dataset: Dataset, validation_size: int) -> Dataset:
    validation = dataset.validation
    return replace(dataset, validation=Split(validation.images[:validation_size], validation.labels[:validation_size]))


def _dataset() -> Dataset:
    """Load MNIST, or draw images if it cannot be loaded."""
    try:
        return load_dataset("mnist")
    except DataError as error:
        print(f"using random images: {error}")
    return random_images()


def random_images() -> Dataset:
    """Draw images with a fifth of the pixels nonzero."""
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (15_000, 784)) * (rng.random((15_000, 784)) < 0.2)).astype(np.uint8)
    labels = rng.integers(0, 10, 15_000).astype(np.uint8)
    train, validation = Split(images[:10_000], labels[:10_000]), Split(images[10_000:], labels[10_000:])
    return Dataset("random", "", train, validation, validation)


if __name__ == "__main__":
    with one_thread():
        main()
