"""A pack of multi-layer perceptrons on the CPU, in fewer and larger operations than the model.

Model: `mnist_core.models.mlp.MLP`.
Tests: tests/test_mlp_numpy.py::test_epochs_give_the_weights_of_the_plain_mlp
       tests/test_mlp_numpy.py::test_evaluations_equal_those_of_the_plain_mlp

Shapes: B images of a batch, N images of a set, D 784 pixels, P = 1 + D columns of `nonzero_prefix`, H hidden units,
K 10 digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_core.backends.interface import Evaluation, Orders, PackData, SplitName, distinct_seeds
from mnist_core.backends.nonzero_prefix import WHITE, Batch, Batches, SortedImages, pixel_order
from mnist_core.data import DIGITS, PIXELS
from mnist_core.models.mlp import MLP
from mnist_core.seeds import generator
from mnist_core.trial import Trial

Float32s = NDArray[np.float32]
# Images: large enough for fast matrix products, small enough for the activations to stay in cache.
EVALUATION_TILE = 256
ONE_PIXEL = np.float32(1 / WHITE)


class MLPPack:
    """Train MLPs in lock-step; implements `mnist_core.backends.interface.Networks`.

    Trials of one seed share the gathering of batches. Nothing else is shared: stacking the products of several trials
    would make the last bits of a trial depend on the size of the pack.
    """

    def __init__(self, trials: Sequence[Trial], data: PackData) -> None:
        self.trials = tuple(trials)
        self._data = data
        # Computed from the whole training set, so that all subsets and the other two sets share one order.
        self._order = pixel_order(data.dataset.train)
        self._subsets = {
            seed: SortedImages.from_split(data.dataset.train, self._order, index)
            for seed, index in data.subset_index.items()
        }
        self._held_out: dict[SplitName, SortedImages] = {}
        self._networks = [_Network(trial, self._order) for trial in trials]
        largest = max(EVALUATION_TILE, min(trials[0].batch_size, trials[0].subset_size))
        self._batches = Batches(largest, 1 + PIXELS)
        assert trials[0].hidden_units is not None
        self._buffers = _Buffers(largest, trials[0].hidden_units)

    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Train every network for one epoch on its seed's subset, in the seed's order."""
        for seed in distinct_seeds(self.trials):
            subset = self._subsets[seed]
            learners = [
                (network, learning_rate)
                for trial, network, learning_rate in zip(self.trials, self._networks, learning_rates, strict=True)
                if trial.seed == seed
            ]
            for batch in self._batches.of_epoch(subset, orders[seed], self.trials[0].batch_size):
                for network, learning_rate in learners:
                    network.step(batch, learning_rate, self._buffers)

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Evaluate every network on a split."""
        if split != "train":
            return self._evaluate(self._networks, self._held_out_set(split))
        found: dict[int, Evaluation] = {}
        for seed in distinct_seeds(self.trials):
            indices = [index for index, trial in enumerate(self.trials) if trial.seed == seed]
            evaluations = self._evaluate([self._networks[index] for index in indices], self._subsets[seed])
            found.update(zip(indices, evaluations, strict=True))
        return [found[index] for index in range(len(self.trials))]

    def weights(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters of one network by name."""
        return self._networks[index].weights()

    def velocities(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the momentum terms of one network by parameter name; empty without momentum."""
        return self._networks[index].velocities()

    def restore(self, index: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to earlier results of `weights` and `velocities`."""
        self._networks[index].restore(weights, velocities)

    def keep(self, indices: Sequence[int]) -> None:
        """Continue with the networks at these indices only."""
        self.trials = tuple(self.trials[index] for index in indices)
        self._networks = [self._networks[index] for index in indices]

    def _held_out_set(self, split: SplitName) -> SortedImages:
        if split not in self._held_out:
            source = self._data.dataset.validation if split == "validation" else self._data.dataset.test
            self._held_out[split] = SortedImages.from_split(source, self._order)
        return self._held_out[split]

    def _evaluate(self, networks: "Sequence[_Network]", images: SortedImages) -> list[Evaluation]:
        """Evaluate networks on a set that they share, tile by tile."""
        losses = np.empty((len(networks), len(images)), np.float32)
        predicted = np.empty((len(networks), len(images)), np.int64)
        for start in range(0, len(images), EVALUATION_TILE):
            rows = slice(start, start + EVALUATION_TILE)
            tile = self._batches.tile(images, rows)
            for network, network_losses, network_predicted in zip(networks, losses, predicted, strict=True):
                logits = network.logits(tile, self._buffers)
                network_predicted[rows] = logits.argmax(axis=0)
                network_losses[rows] = _cross_entropy(logits, tile.labels)
        labels = images.labels[images.rows]  # in the order of the unsorted set, as the predictions below
        return [
            Evaluation.from_predictions(labels, network_losses, network_predicted[images.rows])
            for network_losses, network_predicted in zip(losses, predicted, strict=True)
        ]


class _Buffers:
    """The memory for one step or tile of at most `size` images; networks use it one after the other."""

    def __init__(self, size: int, hidden: int) -> None:
        self._hidden = np.empty((3, size, hidden), np.float32)
        self._logits = np.empty((2, size * DIGITS), np.float32)
        self.update1 = np.empty((1 + PIXELS, hidden), np.float32)

    def hidden(self, slot: int, size: int) -> Float32s:
        """Return one of three arrays (B, H), for `size` images."""
        return self._hidden[slot, :size]

    def logits(self, size: int) -> tuple[Float32s, Float32s]:
        """Return two contiguous arrays: (B, K) as the output of a product, (K, B) for faster sums over K."""
        rows, columns = self._logits[:, : size * DIGITS]
        return rows.reshape(size, DIGITS), columns.reshape(DIGITS, size)


class _Network:
    """An MLP whose parameters are laid out for speed: weight1 (P, H), weight2 (K, H), bias2 (K, 1).

    weight1 is half of b1 and, below it, half of W1 transposed, with the pixels in their order; weight2 is half of W2.
    Halving is exact. With e = 1 + tanh(x @ weight1), which is twice f1, the seed report's chains (section 2) become

        a2 = e @ weight2.T + b2,    f1 (1 - f1) = e (2 - e) / 4,

    and with G = dL/da2 and r = learning_rate / 4 the updates are

        weight2 -= r G.T @ e,    b2 -= 4 r sum(G),    weight1 -= x.T @ ((G @ weight2) * (r e (2 - e))).

    The rate multiplies the last small array of each update. Multiplied into G, it would overflow when very large
    weights meet saturated activations, whose zero derivative keeps the plain model finite.
    The pixels x range from 0 to 255: the products with them are divided by 255, instead of the pixels.
    """

    def __init__(self, trial: Trial, order: NDArray[np.intp]) -> None:
        self._order = order
        self._momentum = np.float32(trial.momentum)
        self._parameters = self._laid_out(MLP.from_trial(trial, generator(trial.seed, "weights")).parameters)
        self._velocities = [np.zeros_like(parameter) for parameter in self._parameters] if trial.momentum else []

    def logits(self, batch: Batch, buffers: _Buffers) -> Float32s:
        """Compute the logits a2, transposed, (K, B)."""
        return self._forward(batch, buffers)[1]

    def step(self, batch: Batch, learning_rate: float, buffers: _Buffers) -> None:
        """Take one step of stochastic gradient descent."""
        # With momentum, the updates are gradients, and the rate multiplies the velocity.
        rate = np.float32(1 if self._velocities else learning_rate)
        quarter = rate / np.float32(4)
        e, g = self._forward(batch, buffers)
        _softmax(g)
        g[batch.labels, np.arange(len(e))] -= 1  # G, transposed, (K, B)
        update2, update_bias2 = quarter * (g @ e), rate * g.sum(axis=1, keepdims=True)
        grad_a1 = np.matmul(g.T, self._parameters[1], out=buffers.hidden(1, len(e)))  # (B, H)
        grad_a1 *= _scaled_derivative(e, quarter * ONE_PIXEL, out=buffers.hidden(2, len(e)))
        rows = batch.transposed_matmul(grad_a1, out=buffers.update1)
        updates = (buffers.update1[:rows], update2, update_bias2)
        if self._velocities:
            self._accelerate(updates, np.float32(learning_rate))
        else:
            for parameter, update in zip(self._parameters, updates, strict=True):
                parameter[: len(update)] -= update

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by the names and in the shapes of `MLP`."""
        return self._named(self._parameters)

    def velocities(self) -> dict[str, NDArray[Any]]:
        """Return the momentum terms by parameter name; empty without momentum."""
        return self._named(self._velocities) if self._velocities else {}

    def restore(self, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set the network to earlier results of `weights` and `velocities`; halving what they doubled is exact."""
        self._parameters = self._laid_out(weights)
        if velocities:
            self._velocities = self._laid_out(velocities)

    def _forward(self, batch: Batch, buffers: _Buffers) -> tuple[Float32s, Float32s]:
        """Compute e (B, H) and the logits, transposed, (K, B)."""
        weight1, weight2, bias2 = self._parameters
        e = buffers.hidden(0, len(batch.labels))
        batch.matmul(weight1, out=e)
        np.multiply(e, ONE_PIXEL, out=e)
        np.tanh(e, out=e)
        np.add(e, 1, out=e)
        rows, logits = buffers.logits(len(e))
        np.matmul(e, weight2.T, out=rows)
        np.add(rows.T, bias2, out=logits)
        return e, logits

    def _accelerate(self, gradients: Sequence[Float32s], rate: np.float32) -> None:
        """Step with momentum, in torch.optim.SGD's convention; rows beyond the end of a gradient are zero."""
        for parameter, velocity, grad in zip(self._parameters, self._velocities, gradients, strict=True):
            velocity *= self._momentum
            velocity[: len(grad)] += grad
            parameter -= rate * velocity

    def _laid_out(self, named: Mapping[str, NDArray[Any]]) -> list[Float32s]:
        half = np.float32(0.5)
        weight1 = np.concatenate([named["b1"][None], named["W1"].T[self._order]])
        # The memory layout decides the order in which BLAS sums, so it must not depend on the arrays passed in.
        return [np.array(array, order="C") for array in (half * weight1, half * named["W2"], named["b2"][:, None])]

    def _named(self, laid_out: Sequence[Float32s]) -> dict[str, NDArray[Any]]:
        weight1, weight2, bias2 = laid_out
        W1 = np.empty((weight1.shape[1], PIXELS), np.float32)
        W1[:, self._order] = 2 * weight1[1:].T
        return {"W1": W1, "b1": 2 * weight1[0], "W2": 2 * weight2, "b2": bias2[:, 0].copy()}


def _scaled_derivative(e: Float32s, scale: np.float32, out: Float32s) -> Float32s:
    """Compute scale * e (2 - e) into `out`."""
    np.subtract(2, e, out=out)
    np.multiply(out, e, out=out)
    return np.multiply(out, scale, out=out)


def _softmax(logits: Float32s) -> None:
    """Replace logits (K, B) by the softmax of each column, after subtracting the column's maximum."""
    np.subtract(logits, logits.max(axis=0), out=logits)
    np.exp(logits, out=logits)
    np.divide(logits, logits.sum(axis=0), out=logits)


def _cross_entropy(logits: Float32s, labels: NDArray[np.int64]) -> Float32s:
    """Compute the loss of each image (B,) from logits (K, B), which are overwritten, and labels (B,)."""
    np.subtract(logits, logits.max(axis=0), out=logits)
    of_labels = logits[labels, np.arange(len(labels))]
    total = np.exp(logits, out=logits).sum(axis=0)
    loss: Float32s = np.log(total) - of_labels
    return loss
