"""A pack of multi-layer perceptrons on the CPU: what `mnist_core.models.mlp` tells, in fewer and larger steps.

Letters: B images of a batch, N images of a set, D 784 pixels, P = 1 + D places of `nonzero_prefix`, H hidden units,
K 10 digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_core.backends.interface import Evaluation, Orders, PackData, SplitName, distinct_seeds
from mnist_core.backends.nonzero_prefix import WHITE, Batch, Batches, ReachedImages, pixel_order
from mnist_core.data import DIGITS, PIXELS
from mnist_core.models.mlp import MLP
from mnist_core.seeds import generator
from mnist_core.trial import Trial

Float32s = NDArray[np.float32]
# Large enough to keep a matrix product busy, small enough that a tile's activations stay in cache.
EVALUATION_TILE = 256
ONE_PIXEL = np.float32(1 / WHITE)


class MLPPack:
    """Train MLPs in lock-step; answers to `mnist_core.backends.interface.Networks`.

    What is done for one trial does not depend on the others but for the gathering of batches, which trials of one
    seed share: stacking the trials' products would change their last bits with the size of the pack.
    """

    def __init__(self, trials: Sequence[Trial], data: PackData) -> None:
        self.trials = tuple(trials)
        self._data = data
        # From the whole training set, so that all subsets share it, and with it the other two sets.
        self._order = pixel_order(data.dataset.train)
        self._subsets = {
            seed: ReachedImages.from_split(data.dataset.train, self._order, index)
            for seed, index in data.subset_index.items()
        }
        self._held_out: dict[SplitName, ReachedImages] = {}
        self._networks = [_Network(trial, self._order) for trial in trials]
        largest = max(EVALUATION_TILE, min(trials[0].batch_size, trials[0].subset_size))
        self._batches = Batches(largest, 1 + PIXELS)
        assert trials[0].hidden_units is not None
        self._buffers = _Buffers(largest, trials[0].hidden_units)

    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Go once through each trial's subset in the order of its seed, each at its own learning rate."""
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
        """Pass a set forward through every network."""
        if split != "train":
            return self._evaluate(self._networks, self._held_out_set(split))
        found: dict[int, Evaluation] = {}
        for seed in distinct_seeds(self.trials):
            places = [place for place, trial in enumerate(self.trials) if trial.seed == seed]
            evaluations = self._evaluate([self._networks[place] for place in places], self._subsets[seed])
            found.update(zip(places, evaluations, strict=True))
        return [found[place] for place in range(len(self.trials))]

    def weights(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's parameters by name."""
        return self._networks[place].weights()

    def velocities(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's momentum terms by parameter; empty without momentum."""
        return self._networks[place].velocities()

    def restore(self, place: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to what `weights` and `velocities` gave, of this or another process."""
        self._networks[place].restore(weights, velocities)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the networks at these places alone."""
        self.trials = tuple(self.trials[place] for place in places)
        self._networks = [self._networks[place] for place in places]

    def _held_out_set(self, split: SplitName) -> ReachedImages:
        if split not in self._held_out:
            source = self._data.dataset.validation if split == "validation" else self._data.dataset.test
            self._held_out[split] = ReachedImages.from_split(source, self._order)
        return self._held_out[split]

    def _evaluate(self, networks: "Sequence[_Network]", images: ReachedImages) -> list[Evaluation]:
        """Pass a set forward in tiles, each through all of the networks."""
        losses = np.empty((len(networks), len(images)), np.float32)
        predicted = np.empty((len(networks), len(images)), np.int64)
        for start in range(0, len(images), EVALUATION_TILE):
            rows = slice(start, start + EVALUATION_TILE)
            tile = self._batches.tile(images, rows)
            for network, its_losses, its_predicted in zip(networks, losses, predicted, strict=True):
                logits = network.logits(tile, self._buffers)
                its_predicted[rows] = logits.argmax(axis=0)
                its_losses[rows] = _cross_entropy(logits, tile.labels)
        return [Evaluation.of(images.labels, *of_one) for of_one in zip(losses, predicted, strict=True)]


class _Buffers:
    """The memory of one step or one tile of at most B images, used by one network after the other."""

    def __init__(self, size: int, hidden: int) -> None:
        self._hidden = np.empty((3, size, hidden), np.float32)
        self._logits = np.empty((2, size * DIGITS), np.float32)
        self.update1 = np.empty((1 + PIXELS, hidden), np.float32)

    def hidden(self, number: int, size: int) -> Float32s:
        """Return one of three arrays (B, H)."""
        return self._hidden[number, :size]

    def logits(self, size: int) -> tuple[Float32s, Float32s]:
        """Return two arrays without gaps: (B, K) for a product to fill; (K, B), where sums over K are faster."""
        rows, columns = self._logits[:, : size * DIGITS]
        return rows.reshape(size, DIGITS), columns.reshape(DIGITS, size)


class _Network:
    """An MLP whose parameters are laid out for speed: weight1 (P, H), weight2 (K, H), bias2 (K, 1).

    weight1 is half of b1 and, below it, half of W1 transposed, its pixels in their order; weight2 is half of W2. To
    halve is exact. With e = 1 + tanh(x @ weight1), which is twice the activation f1, the report's chains become

        a2 = e @ weight2.T + b2,    f1 (1 - f1) = e (2 - e) / 4,

    and with G = dL/da2 and r = learning_rate / 4 the updates are

        weight2 -= r G.T @ e,    b2 -= 4 r sum(G),    weight1 -= x.T @ ((G @ weight2) * (r e (2 - e))).

    The rate stands at the last place where the array is small. Earlier, beside G, it would overflow where weights as
    high as it meet activations at their end, whose derivative of zero keeps the plain way finite.
    The pixels x go from 0 to 255, not to 1: the products with them, and not they, are divided by 255.
    """

    def __init__(self, trial: Trial, order: NDArray[np.intp]) -> None:
        self._order = order
        self._momentum = np.float32(trial.momentum)
        self._parameters = self._laid_out(MLP.from_trial(trial, generator(trial.seed, "weights")).parameters)
        self._velocities = [np.zeros_like(parameter) for parameter in self._parameters] if trial.momentum else []

    def logits(self, batch: Batch, buffers: _Buffers) -> Float32s:
        """Return the logits a2 transposed (K, B)."""
        return self._forward(batch, buffers)[1]

    def step(self, batch: Batch, learning_rate: float, buffers: _Buffers) -> None:
        """Take one step of stochastic gradient descent."""
        # With momentum the updates are gradients: the rate comes after the velocity.
        rate = np.float32(1 if self._velocities else learning_rate)
        quarter = rate / np.float32(4)
        e, g = self._forward(batch, buffers)
        _softmax(g)
        g[batch.labels, np.arange(len(e))] -= 1  # G transposed (K, B)
        update2, update_bias2 = quarter * (g @ e), rate * g.sum(axis=1, keepdims=True)
        grad_a1 = np.matmul(g.T, self._parameters[1], out=buffers.hidden(1, len(e)))  # (B, H)
        grad_a1 *= _scaled_derivative(e, quarter * ONE_PIXEL, out=buffers.hidden(2, len(e)))
        reached = batch.transposed_matmul(grad_a1, out=buffers.update1)
        updates = (buffers.update1[:reached], update2, update_bias2)
        if self._velocities:
            self._accelerate(updates, np.float32(learning_rate))
        else:
            for parameter, update in zip(self._parameters, updates, strict=True):
                parameter[: len(update)] -= update

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the parameters as `MLP` has them."""
        return self._named(self._parameters)

    def velocities(self) -> dict[str, NDArray[Any]]:
        """Return the momentum terms by parameter; there are none without momentum."""
        return self._named(self._velocities) if self._velocities else {}

    def restore(self, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set everything to what `weights` and `velocities` gave, which is exact: they are doubled, and halved here."""
        self._parameters = self._laid_out(weights)
        if velocities:
            self._velocities = self._laid_out(velocities)

    def _forward(self, batch: Batch, buffers: _Buffers) -> tuple[Float32s, Float32s]:
        """Return e (B, H) and the logits transposed (K, B)."""
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
        """Step by the velocities of torch.optim.SGD's convention; where a gradient ends, its rows are zero."""
        for parameter, velocity, grad in zip(self._parameters, self._velocities, gradients, strict=True):
            velocity *= self._momentum
            velocity[: len(grad)] += grad
            parameter -= rate * velocity

    def _laid_out(self, named: Mapping[str, NDArray[Any]]) -> list[Float32s]:
        half = np.float32(0.5)
        weight1 = np.concatenate([named["b1"][None], named["W1"].T[self._order]])
        # The order of elements in memory decides how BLAS sums: it must not hang on that of what is restored.
        return [np.array(array, order="C") for array in (half * weight1, half * named["W2"], named["b2"][:, None])]

    def _named(self, laid_out: Sequence[Float32s]) -> dict[str, NDArray[Any]]:
        weight1, weight2, bias2 = laid_out
        W1 = np.empty((weight1.shape[1], PIXELS), np.float32)
        W1[:, self._order] = 2 * weight1[1:].T
        return {"W1": W1, "b1": 2 * weight1[0], "W2": 2 * weight2, "b2": bias2[:, 0].copy()}


def _scaled_derivative(e: Float32s, scale: np.float32, out: Float32s) -> Float32s:
    """Return e (2 - e) times a scale."""
    np.subtract(2, e, out=out)
    np.multiply(out, e, out=out)
    return np.multiply(out, scale, out=out)


def _softmax(logits: Float32s) -> None:
    """Replace logits (K, B) by their softmax per column; the largest logit is subtracted first."""
    np.subtract(logits, logits.max(axis=0), out=logits)
    np.exp(logits, out=logits)
    np.divide(logits, logits.sum(axis=0), out=logits)


def _cross_entropy(logits: Float32s, labels: NDArray[np.int64]) -> Float32s:
    """Return the cross-entropy loss of every image (B,) from logits (K, B), which are lost, and labels (B,)."""
    np.subtract(logits, logits.max(axis=0), out=logits)
    of_labels = logits[labels, np.arange(len(labels))]
    total = np.exp(logits, out=logits).sum(axis=0)
    loss: Float32s = np.log(total) - of_labels
    return loss
