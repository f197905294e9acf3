"""Time pinned and native numerics side by side: what equal bits on every CPU cost on this one.

The unit is an epoch with both evaluations, on one core and in CPU seconds, which other processes disturb less. Run as
`python benchmarks/numerics.py`; takes some minutes. Without MNIST it uses random images.
"""

import time
from collections.abc import Callable
from statistics import median, quantiles

import numpy as np
from cnn import random_images
from measure import interleaved, one_thread, print_machine

from mnist_core.backends import make_networks
from mnist_core.backends.interface import PackData
from mnist_core.data import Dataset, load_dataset
from mnist_core.errors import DataError
from mnist_core.kernels import training_kernels, training_with
from mnist_core.trial import Model, Numerics, Trial

LEARNING_RATE = 0.001
CASES: tuple[tuple[Model, int, int], ...] = (("mlp", 2_000, 101), ("mlp", 10_000, 31), ("cnn", 2_000, 31))


def main() -> None:
    """Print the price of pinned kernels for each model."""
    try:
        dataset = load_dataset("mnist")
    except DataError as error:
        print(f"using random images: {error}")
        dataset = random_images()
    print_machine()
    print(f"pinned: {training_kernels()}; native: {training_kernels('native')}")
    for model, subset_size, rounds in CASES:
        _print_price(model, subset_size, rounds, dataset)


def _print_price(model: Model, subset_size: int, rounds: int, dataset: Dataset) -> None:
    names: tuple[Numerics, ...] = ("pinned", "native")
    variants: dict[str, Callable[[], object]] = {name: _epoch(model, subset_size, name, dataset) for name in names}
    times = interleaved(variants, rounds, warm_up=2, clock=time.thread_time)
    pairs = zip(times["pinned"].seconds, times["native"].seconds, strict=True)
    price = [pinned / native - 1 for pinned, native in pairs]
    low, _, high = quantiles(price, n=4)
    spread = f"quartiles {low:+.1%} to {high:+.1%}, n = {rounds}"
    best = min(times["pinned"].seconds) / min(times["native"].seconds) - 1
    seconds = ", ".join(f"{name} {1000 * times[name].median:.1f} ms" for name in names)
    print(f"{model} {subset_size:,} images: {median(price):+.1%} ({spread}); of the fastest {best:+.1%}; {seconds}")


def _epoch(model: Model, subset_size: int, numerics: Numerics, dataset: Dataset) -> Callable[[], object]:
    """Make a function that trains a network for an epoch and evaluates it twice."""
    trial = Trial(model=model, subset_size=subset_size, adaptive_lr=False, seed=0, numerics=numerics)
    with training_with(numerics):
        networks = make_networks([trial], PackData(dataset, {0: np.arange(subset_size)}))
    order = np.random.default_rng(0).permutation(subset_size)

    def epoch() -> None:
        with training_with(numerics):
            networks.train_epoch({0: order}, [LEARNING_RATE])
            for split in ("train", "validation"):
                networks.evaluate(split)

    return epoch


if __name__ == "__main__":
    with one_thread():
        main()
