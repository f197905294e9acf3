"""The multi-layer perceptron 784-H-10 of the report, its backpropagation by hand.

Letters: B images of a batch, D 784 pixels, H hidden units, K 10 digits. The report writes one image as a column; here
a batch is B rows, so that each product of the report becomes one matrix product over the whole batch.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import DIGITS, PIXELS
from mnist_core.trial import Trial

Floats = NDArray[np.floating[Any]]


class MLP:
    """Hold the parameters W1 (H, D), b1 (H,), W2 (K, H), b2 (K,) and train them; their dtype is the arithmetic's."""

    def __init__(self, parameters: Mapping[str, Floats], *, momentum: float = 0.0) -> None:
        self.parameters = {name: np.array(value) for name, value in parameters.items()}
        self.momentum = momentum
        self._velocity: dict[str, Floats] = {}

    @classmethod
    def from_trial(cls, trial: Trial, rng: np.random.Generator) -> Self:
        """Draw the initial weights from N(0, weight_init_std) and set the biases to zero."""
        assert trial.hidden_units is not None
        assert trial.weight_init_std is not None
        hidden, std = trial.hidden_units, np.float32(trial.weight_init_std)
        parameters: dict[str, Floats] = {
            "W1": std * rng.standard_normal((hidden, PIXELS), dtype=np.float32),
            "b1": np.zeros(hidden, np.float32),
            "W2": std * rng.standard_normal((DIGITS, hidden), dtype=np.float32),
            "b2": np.zeros(DIGITS, np.float32),
        }
        return cls(parameters, momentum=trial.momentum)

    def forward(self, images: Floats) -> tuple[Floats, Floats]:
        """Return the hidden activations f1 (B, H) and the logits a2 (B, K) of images (B, D)."""
        p = self.parameters
        f1 = sigmoid(images @ p["W1"].T + p["b1"])
        return f1, f1 @ p["W2"].T + p["b2"]

    def logits(self, images: Floats) -> Floats:
        """Return the logits (B, K) of images (B, D)."""
        return self.forward(images)[1]

    def gradients(self, images: Floats, labels: NDArray[np.integer[Any]]) -> dict[str, Floats]:
        """Return the gradient of the cross-entropy, summed over the batch, for each parameter.

        Each line is one chain of the report's partial derivatives; its Jacobians are formed implicitly.
        """
        f1, a2 = self.forward(images)
        # dL/da2, the 1x10 Jacobian y_hat - y of every image.
        grad_a2 = softmax(a2)  # (B, K)
        grad_a2[np.arange(len(labels)), labels] -= 1
        # da2/db2 is the identity: dL/db2 is dL/da2 itself.
        grad_b2 = grad_a2.sum(axis=0)
        # da2/dW2 (10x640) repeats f1 along its rows: its product with dL/da2 is an outer product.
        grad_W2 = grad_a2.T @ f1
        # da2/df1 is W2 and df1/da1 the diagonal matrix of f1 (1 - f1): a product by elements.
        grad_a1 = (grad_a2 @ self.parameters["W2"]) * (f1 * (1 - f1))  # (B, H)
        # da1/db1 is the identity, and da1/dW1 (64x50176) repeats the pixels as da2/dW2 repeats f1.
        grad_b1 = grad_a1.sum(axis=0)
        grad_W1 = grad_a1.T @ images
        return {"W1": grad_W1, "b1": grad_b1, "W2": grad_W2, "b2": grad_b2}

    def step(self, images: Floats, labels: NDArray[np.integer[Any]], learning_rate: float) -> None:
        """Take one step of stochastic gradient descent on a batch: images (B, D), labels (B,)."""
        for name, grad in self.gradients(images, labels).items():
            if self.momentum:
                # torch.optim.SGD's convention: velocity = momentum * velocity + grad.
                self._velocity[name] = grad = self.momentum * self._velocity.get(name, 0) + grad
            self.parameters[name] -= grad.dtype.type(learning_rate) * grad

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters by name."""
        return {name: value.copy() for name, value in self.parameters.items()}


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) in a form that overflows nowhere: (1 + tanh(x / 2)) / 2."""
    half: Floats = np.tanh(x * 0.5)
    half += 1
    half *= 0.5
    return half


def softmax(logits: Floats) -> Floats:
    """Return exp(logits) / sum(exp(logits)) per row (B, K); the largest logit is subtracted first."""
    exps: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    exps /= exps.sum(axis=1, keepdims=True)
    return exps


def log_sum_exp(logits: Floats) -> Floats:
    """Return log(sum(exp(logits))) per row (B,); the largest logit is subtracted first."""
    largest: Floats = logits.max(axis=1)
    total: Floats = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
    return total


def cross_entropy(logits: Floats, labels: NDArray[np.integer[Any]]) -> Floats:
    """Return the cross-entropy loss of every image (B,) from logits (B, K) and labels (B,)."""
    loss: Floats = log_sum_exp(logits) - logits[np.arange(len(labels)), labels]
    return loss
