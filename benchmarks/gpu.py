"""Measure packs on a GPU, with mnist_core alone: a pack of ten against packs of one, and the 40-trial study.

Run as `python benchmarks/gpu.py`; `--device cpu --epochs 1 --images 600` checks the script without a GPU. Both sides
of the comparison alternate. The limit is the counted arithmetic at the speed of a large product of float32 matrices,
measured in the same run. The images are random: no time measured here depends on their content. Needs only numpy and
torch.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_core.backends.interface import PackData, batches
from mnist_core.backends.stacked import StackedPack
from mnist_core.cost import flops
from mnist_core.data import Dataset, Split
from mnist_core.models.cnn import build_network
from mnist_core.seeds import generator, subset_index
from mnist_core.training import Training, TrialResult
from mnist_core.trial import Trial

SEEDS = 5
VALIDATION = 5_000


def main() -> None:
    """Print the comparison of packs, then the study."""
    options = _options()
    device = torch.device(options.device)
    # By default, the convolutions of the plain loop would use TF32.
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}; torch {torch.__version__}, numpy {np.__version__}; {options.epochs} epochs")
    dataset = _random_dataset(options.images)
    speed = _product_speed(device)
    print(f"product of float32 matrices: {speed / 1e12:.2f} TFLOP/s")
    _compare_packs(dataset, device, options.epochs, options.rounds)
    _time_study(dataset, device, options.epochs, speed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=100, help="of the study; a tenth of them in the comparison")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _random_dataset(size: int) -> Dataset:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(rng.integers(0, 256, (count, 784), np.uint8), rng.integers(0, 10, count, np.uint8))

    return Dataset("random", "0" * 64, split(size), split(VALIDATION), split(VALIDATION))


def _product_speed(device: torch.device) -> float:
    """Measure the floating-point operations per second of a large matrix product."""
    side = 8_192 if device.type == "cuda" else 1_024
    left, right = torch.rand(side, side, device=device), torch.rand(side, side, device=device)

    def product() -> None:
        torch.mm(left, right)

    product()
    return 2 * side**3 / median(_seconds(product, device) for _ in range(7))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time a function, including the work that it queues on the device."""
    _finish(device)
    started = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _study(model: str, size: int, epochs: int) -> list[Trial]:
    return [
        Trial(model=model, subset_size=size, adaptive_lr=adaptive, seed=seed, epochs=epochs)  # type: ignore[arg-type]
        for seed in range(SEEDS)
        for adaptive in (False, True)
    ]


def _train(trials: Sequence[Trial], dataset: Dataset, device: torch.device) -> None:
    size = len(dataset.train.labels)
    data = PackData(dataset, {trial.seed: subset_index(size, trial.subset_size, trial.seed) for trial in trials})
    records = Training(trials, lambda: StackedPack(trials, data, device))
    results = [record for record in records if isinstance(record, TrialResult)]
    assert [result.status for result in results] == ["finished"] * len(trials)


def _train_plainly(trial: Trial, dataset: Dataset, device: torch.device) -> None:
    """Train a trial in a plain eager loop on the device, with evaluations after every epoch."""
    mlp = nn.Sequential(nn.Linear(784, 64), nn.Sigmoid(), nn.Linear(64, 10))
    network = (mlp if trial.model == "mlp" else build_network()).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=trial.learning_rate)
    index = subset_index(len(dataset.train.labels), trial.subset_size, trial.seed)
    sets = [
        (torch.tensor(images, device=device).float() / 255, torch.tensor(labels, device=device).long())
        for images, labels in (
            (dataset.train.images[index], dataset.train.labels[index]),
            (dataset.validation.images, dataset.validation.labels),
        )
    ]
    shuffle = generator(trial.seed, "shuffle")
    for _ in range(trial.epochs):
        for batch in batches(shuffle.permutation(trial.subset_size), trial.batch_size):
            rows = torch.tensor(batch, device=device)
            optimizer.zero_grad()
            F.cross_entropy(network(sets[0][0][rows]), sets[0][1][rows], reduction="sum").backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            for images, labels in sets:
                for start in range(0, len(labels), VALIDATION):
                    tile = slice(start, start + VALIDATION)
                    int((network(images[tile]).argmax(1) == labels[tile]).sum())


def _plain_epoch_s(trial: Trial, dataset: Dataset, device: torch.device) -> float:
    """Time an epoch of the plain loop, without the start of a trial."""
    few = max(1, trial.epochs // 20)

    def seconds(epochs: int) -> float:
        return _seconds(lambda: _train_plainly(replace(trial, epochs=epochs), dataset, device), device)

    seconds(1)  # libraries load
    return (seconds(2 * few) - seconds(few)) / few


def _compare_packs(dataset: Dataset, device: torch.device, epochs: int, rounds: int) -> None:
    """Print the throughput of a pack of ten of the largest CNNs, relative to packs of one."""
    ten = _study("cnn", len(dataset.train.labels), max(1, epochs // 10))
    _train([replace(ten[0], epochs=1)], dataset, device)  # libraries load, algorithms are chosen
    ratios = []
    for _ in range(rounds):
        of_ten = _seconds(lambda: _train(ten, dataset, device), device)
        of_one = _seconds(lambda: _train(ten[:1], dataset, device), device)
        ratios.append(10 * of_one / of_ten)
    middle = f"median {median(ratios):.2f} x, min {min(ratios):.2f}, max {max(ratios):.2f}, n {rounds}"
    print(f"pack of ten over packs of one, trials per second: {middle} (goal 8 x)")


def _time_study(dataset: Dataset, device: torch.device, epochs: int, speed: float) -> None:
    """Print the seconds of the 40-trial study, of the limit, and of a plain loop."""
    size = len(dataset.train.labels)
    packs = [_study(model, images, epochs) for model in ("cnn", "mlp") for images in (size, max(1, size // 25))]
    limit = sum(flops(trial, VALIDATION) for pack in packs for trial in pack) / speed
    total = 0.0
    for pack in packs:
        seconds = _seconds(partial(_train, pack, dataset, device), device)
        expected = len(pack) * epochs * _plain_epoch_s(pack[0], dataset, device)
        print(f"{pack[0].model} {pack[0].subset_size}: {seconds:.2f} s; a plain loop about {expected:.0f} s")
        total += seconds
    print(f"study of 40 trials: {total:.2f} s (goal 10 s), {total / limit:.1f} x the limit of {limit:.2f} s")


if __name__ == "__main__":
    main()
