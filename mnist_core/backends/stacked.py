"""A pack on a torch device, with the parameters of all its networks stacked; made for CUDA, tested on the CPU as well.

Model: `mnist_core.models.mlp.MLP` and `mnist_core.models.cnn.CNN`, by way of `mnist_core.backends.stacked_models`.
Tests: tests/test_stacked.py::test_a_stacked_trial_equals_the_same_trial_on_the_cpu

The dataset stays on the device. The host queues the steps of an epoch without waiting: on CUDA each step replays a
CUDA graph, and the host waits for the device only when it reads the results of an evaluation.

Shapes: E networks of the pack, B images of a batch, N images of a set, D 784 pixels, K 10 digits.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mnist_core.backends.interface import Evaluation, Orders, PackData, SplitName
from mnist_core.backends.stacked_models import StackedCNN, StackedMLP, StackedModel, product_in
from mnist_core.data import DIGITS, Split
from mnist_core.errors import OutOfDeviceMemory
from mnist_core.models.cnn import initial_network, weights_of
from mnist_core.models.mlp import MLP
from mnist_core.seeds import generator
from mnist_core.trial import Trial

# Images evaluated at once, over all networks: enough to keep the device busy, and a bound on the memory.
EVALUATION_IMAGES = 20_480
_MIN_TILE = 256  # of the images evaluated at once, for each network
_WARM_UP_STEPS = 3  # that torch recommends before a capture
_NO_MEMORY = re.compile("out of memory|ALLOC_FAILED")  # messages of the driver, of pinned memory and of cuBLAS


class StackedPack:
    """Train a pack on a torch device; implements `mnist_core.backends.interface.Networks`.

    Every method raises OutOfDeviceMemory if the pack does not fit into the memory of the device.
    """

    def __init__(self, trials: Sequence[Trial], data: PackData, device: torch.device) -> None:
        first = trials[0]
        self._trials = tuple(trials)
        self._device = device
        self._product = product_in(first.precision)
        with self._on_device():
            if device.type == "cuda":
                torch.cuda.empty_cache()  # left by an earlier pack; other processes may share the device
            self._model: StackedModel = StackedMLP() if first.model == "mlp" else StackedCNN(device)
            sets = {"train": data.dataset.train, "validation": data.dataset.validation, "test": data.dataset.test}
            self._sets = {name: self._load(split) for name, split in sets.items()}
            self._subset_index = {seed: self._send(index) for seed, index in data.subset_index.items()}
            initial = [_initial_weights(trial) for trial in trials]
            stacked = {name: np.stack([weights[name] for weights in initial]) for name in initial[0]}
            self._parameters = {name: self._send(value) for name, value in stacked.items()}
            self._velocities = {name: torch.zeros_like(value) for name, value in self._parameters.items()}
            self._set_rates()

    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Queue the steps of an epoch on the device, and return without waiting."""
        size = self._trials[0].batch_size
        with self._on_device():
            self._learning_rates.copy_(torch.tensor(learning_rates))
            sent = {seed: self._subset_index[seed][self._send(order)] for seed, order in orders.items()}
            index = torch.stack([sent[trial.seed] for trial in self._trials])  # (E, N)
            for start in range(0, index.shape[1], size):
                self._step(index[:, start : start + size])

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Evaluate every network on a split, and wait for the device."""
        networks = len(self._trials)
        length = max(_MIN_TILE, EVALUATION_IMAGES // networks)
        with self._on_device():
            index = (
                torch.stack([self._subset_index[trial.seed] for trial in self._trials]) if split == "train" else None
            )
            size = len(self._sets[split][1]) if index is None else index.shape[1]
            losses = torch.zeros(networks, dtype=torch.float64, device=self._device)
            pairs = torch.zeros(networks, DIGITS * DIGITS, dtype=torch.int64, device=self._device)
            tiles = [slice(start, start + length) for start in range(0, size, length)]
            chosen = [tile if index is None else index[:, tile] for tile in tiles]
            digits = [self._evaluate_tile(split, tile, losses, pairs) for tile in chosen]
            predicted = torch.cat(digits, dim=1).cpu().numpy()  # (E, N)
            confusions = pairs.view(networks, DIGITS, DIGITS).cpu().numpy()
            means = (losses / size).tolist()
        return [
            Evaluation(mean, float(np.trace(confusion) / size), confusion, digits_of_one)
            for mean, confusion, digits_of_one in zip(means, confusions, predicted, strict=True)
        ]

    def weights(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters of one network by name."""
        return {name: value[index].cpu().numpy().copy() for name, value in self._parameters.items()}

    def velocities(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the momentum terms of one network by parameter name; empty without momentum."""
        if not self._trials[index].momentum:
            return {}
        return {name: value[index].cpu().numpy().copy() for name, value in self._velocities.items()}

    def restore(self, index: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to earlier results of `weights` and `velocities`."""
        with self._on_device():
            for saved, stacked in ((weights, self._parameters), (velocities, self._velocities)):
                for name, value in saved.items():
                    stacked[name][index] = self._send(value)

    def keep(self, indices: Sequence[int]) -> None:
        """Continue with the networks at these indices only."""
        self._trials = tuple(self._trials[index] for index in indices)
        with self._on_device():
            chosen = torch.tensor(indices, device=self._device)
            self._parameters = {name: value[chosen] for name, value in self._parameters.items()}
            self._velocities = {name: value[chosen] for name, value in self._velocities.items()}
            self._set_rates()

    def _set_rates(self) -> None:
        """Create the tensors that a step reads besides its batch, and discard the captured steps of a larger pack."""
        momenta = [trial.momentum for trial in self._trials]
        self._momenta = torch.tensor(momenta, device=self._device) if any(momenta) else None
        self._learning_rates = torch.zeros(len(momenta), device=self._device)
        self._captured: dict[int, Callable[[Tensor], None]] = {}
        # Captured steps never run at the same time, so they can share the memory of their intermediate results.
        self._pool = torch.cuda.graph_pool_handle() if self._device.type == "cuda" else None

    def _step(self, index: Tensor) -> None:
        """Take one step on the images of the training set at these indices (E, B)."""
        if self._device.type != "cuda":
            self._update(index)
            return
        size = index.shape[1]  # an epoch has at most two sizes: the last batch may be shorter
        if size not in self._captured:
            self._captured[size] = self._capture(index)
        self._captured[size](index)

    def _update(self, index: Tensor) -> None:
        images, labels = self._sets["train"]
        gradients = self._model.gradients(self._parameters, images[index], labels[index], self._product)
        for name, gradient in gradients.items():
            per_network = (len(self._trials), *(1,) * (gradient.dim() - 1))
            if self._momenta is not None:
                # torch.optim.SGD's convention: velocity = momentum * velocity + gradient.
                gradient = self._velocities[name].mul_(self._momenta.view(per_network)).add_(gradient)
            self._parameters[name].addcmul_(gradient, self._learning_rates.view(per_network), value=-1)

    def _capture(self, index: Tensor) -> Callable[[Tensor], None]:
        """Record a step of this batch size as a CUDA graph; return a function that replays it on other indices."""
        static = index.clone()
        state = [*self._parameters.values(), *self._velocities.values()]
        before = [value.clone() for value in state]
        side, current = _capture_stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_STEPS):
                self._update(static)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # The outer context restores the current stream if the capture fails; torch.cuda.graph does not.
        with torch.cuda.stream(current), torch.cuda.graph(graph, pool=self._pool, stream=side):
            self._update(static)
        for value, old in zip(state, before, strict=True):
            value.copy_(old)  # undo the warm-up steps

        def replay(batch: Tensor) -> None:
            static.copy_(batch)
            graph.replay()

        return replay

    def _evaluate_tile(self, split: SplitName, tile: slice | Tensor, losses: Tensor, pairs: Tensor) -> Tensor:
        """Add the losses of a tile to `losses` (E,), and its (actual, predicted) counts to `pairs` (E, K * K).

        Returns:
            The predicted digits, (E, B), as uint8.
        """
        images, labels = (tensor[tile] for tensor in self._sets[split])
        with torch.inference_mode():
            logits = self._model.logits(self._parameters, images, self._product)  # (E, B, K)
            labels = labels.expand(logits.shape[:2])
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
            losses += loss.view(labels.shape).double().sum(dim=1)
            predicted = logits.argmax(dim=2)
            pair = DIGITS * labels + predicted
            pairs.scatter_add_(1, pair, torch.ones_like(pair))
            return predicted.to(torch.uint8)

    def _load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Copy a set to the device: images / 255 as float32 (N, D), labels as int64 (N,)."""
        return self._send(split.images).float().div_(255), self._send(split.labels).long()

    def _send(self, array: NDArray[Any]) -> Tensor:
        # torch warns about read-only arrays, hence the copy. Pinned memory makes the transfer asynchronous.
        tensor = torch.from_numpy(array.copy())
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else tensor

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Set the precision of CUDA's products to the trials', and raise OutOfDeviceMemory if memory runs out."""
        products = torch.backends.cuda.matmul
        before = products.fp32_precision, products.allow_bf16_reduced_precision_reduction
        products.fp32_precision = "tf32" if self._trials[0].precision == "tf32" else "ieee"
        products.allow_bf16_reduced_precision_reduction = False
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and not _NO_MEMORY.search(str(error)):
                raise
            count = len(self._trials)
            trials = f"{count} trial{'' if count == 1 else 's'}"
            raise OutOfDeviceMemory(f"pack of {trials}: {error}; a smaller pack may fit") from error
        finally:
            products.fp32_precision, products.allow_bf16_reduced_precision_reduction = before


@cache
def _capture_stream() -> torch.cuda.Stream:
    """Create the stream for captures, once per process: torch keeps a workspace for every stream it has used."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _initial_weights(trial: Trial) -> dict[str, NDArray[Any]]:
    """Draw the initial weights of a trial, equal to those on the CPU."""
    rng = generator(trial.seed, "weights")
    return MLP.from_trial(trial, rng).weights() if trial.model == "mlp" else weights_of(initial_network(rng))
