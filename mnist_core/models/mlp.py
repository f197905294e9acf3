"""The multi-layer perceptron 784-H-10, to be read beside section 2 of the seed report.

The seed report is Peralta, *Neural Network Image Classifier*. The names are its names: x, W1, b1, a1, f1, W2, b2, a2
and y_hat. It writes one image as a column vector; here a batch is a matrix with one image per row, so each of its
products becomes one matrix product over the batch:

    a1 = x @ W1.T + b1        (B, H)    the seed report's W1 x + b1
    f1 = sigmoid(a1)          (B, H)
    a2 = f1 @ W2.T + b2       (B, K)    the logits
    y_hat = softmax(a2)       (B, K)    L = -sum over images of log(y_hat of the label)

Shapes: B images of a batch, D 784 pixels, H hidden units, K 10 digits.

This form is for reading and for tests. `mnist_core.backends.mlp_numpy` trains the packs on the CPU, and
`mnist_core.backends.stacked` on a GPU.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import DIGITS, PIXELS
from mnist_core.trial import Trial

Floats = NDArray[np.floating[Any]]


class MLP:
    """Hold the parameters W1 (H, D), b1 (H,), W2 (K, H) and b2 (K,), and train them in their own floating-point type.

    Args:
        parameters: The initial parameters by name; they are copied.
        momentum: Fraction of the previous step that is added to each step. The seed report uses none.
    """

    def __init__(self, parameters: Mapping[str, Floats], *, momentum: float = 0.0) -> None:
        self.parameters = {name: np.array(value) for name, value in parameters.items()}
        self.momentum = momentum
        self._velocity: dict[str, Floats] = {}

    @classmethod
    def from_trial(cls, trial: Trial, rng: np.random.Generator) -> Self:
        """Draw W1 and W2 from N(0, weight_init_std) and set b1 and b2 to zero, as the seed report's section 2 does."""
        assert trial.hidden_units is not None
        assert trial.weight_init_std is not None
        hidden, std = trial.hidden_units, np.float32(trial.weight_init_std)
        parameters: dict[str, Floats] = {
            "W1": std * rng.standard_normal((hidden, PIXELS), dtype=np.float32),  # (H, D)
            "b1": np.zeros(hidden, np.float32),  # (H,)
            "W2": std * rng.standard_normal((DIGITS, hidden), dtype=np.float32),  # (K, H)
            "b2": np.zeros(DIGITS, np.float32),  # (K,)
        }
        return cls(parameters, momentum=trial.momentum)

    def forward(self, images: Floats) -> tuple[Floats, Floats]:
        """Compute the hidden activations f1 (B, H) and the logits a2 (B, K) of images (B, D)."""
        p = self.parameters
        f1 = sigmoid(images @ p["W1"].T + p["b1"])  # (B, H)
        return f1, f1 @ p["W2"].T + p["b2"]  # (B, K)

    def logits(self, images: Floats) -> Floats:
        """Compute the logits a2 (B, K) of images (B, D)."""
        return self.forward(images)[1]

    def gradients(self, images: Floats, labels: NDArray[np.integer[Any]]) -> dict[str, Floats]:
        """Compute the gradient of the cross-entropy L, summed over the batch, with respect to each parameter.

        The four gradients are the seed report's four chains of partial derivatives. Its Jacobian matrices are mostly
        zeros, so they are formed implicitly, as the seed report's own code does:

            dL/da2   (1 x K)      y_hat - y
            da2/db2  (K x K)      the identity
            da2/dW2  (K x KH)     f1 repeated along the rows: its product with dL/da2 is an outer product
            da2/df1  (K x H)      W2
            df1/da1  (H x H)      diagonal, f1 (1 - f1)
            da1/db1  (H x H)      the identity
            da1/dW1  (H x HD)     x repeated along the rows: its product with dL/da1 is an outer product

        Args:
            images: Images x (B, D).
            labels: The digit of each image (B,).

        Returns:
            The gradients by parameter name, each in the shape of its parameter.
        """
        f1, a2 = self.forward(images)
        # dL/da2 = y_hat - y, where y is 1 at the label and 0 elsewhere.
        grad_a2 = softmax(a2)  # (B, K)
        grad_a2[np.arange(len(labels)), labels] -= 1
        # dL/db2 = dL/da2 da2/db2
        grad_b2 = grad_a2.sum(axis=0)  # (K,)
        # dL/dW2 = dL/da2 da2/dW2
        grad_W2 = grad_a2.T @ f1  # (K, H)
        # dL/da1 = dL/da2 da2/df1 df1/da1
        grad_a1 = (grad_a2 @ self.parameters["W2"]) * (f1 * (1 - f1))  # (B, H)
        # dL/db1 = dL/da1 da1/db1
        grad_b1 = grad_a1.sum(axis=0)  # (H,)
        # dL/dW1 = dL/da1 da1/dW1
        grad_W1 = grad_a1.T @ images  # (H, D)
        return {"W1": grad_W1, "b1": grad_b1, "W2": grad_W2, "b2": grad_b2}

    def step(self, images: Floats, labels: NDArray[np.integer[Any]], learning_rate: float) -> None:
        """Take one step of stochastic gradient descent: subtract the learning rate times the summed gradient.

        Args:
            images: The images of the batch (B, D).
            labels: Their digits (B,).
            learning_rate: The step size.
        """
        for name, grad in self.gradients(images, labels).items():
            if self.momentum:
                # torch.optim.SGD's convention: velocity = momentum * velocity + grad.
                self._velocity[name] = grad = self.momentum * self._velocity.get(name, 0) + grad
            self.parameters[name] -= grad.dtype.type(learning_rate) * grad

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters by name."""
        return {name: value.copy() for name, value in self.parameters.items()}


def sigmoid(x: Floats) -> Floats:
    """Compute 1 / (1 + exp(-x)) as (1 + tanh(x / 2)) / 2, which cannot overflow."""
    half: Floats = np.tanh(x * 0.5)
    half += 1
    half *= 0.5
    return half


def softmax(logits: Floats) -> Floats:
    """Compute exp(logits) / sum(exp(logits)) of each row (B, K), after subtracting the row's maximum."""
    exps: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    exps /= exps.sum(axis=1, keepdims=True)
    return exps


def log_sum_exp(logits: Floats) -> Floats:
    """Compute log(sum(exp(logits))) of each row (B, K), after subtracting the row's maximum; return (B,)."""
    largest: Floats = logits.max(axis=1)
    total: Floats = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
    return total


def cross_entropy(logits: Floats, labels: NDArray[np.integer[Any]]) -> Floats:
    """Compute the cross-entropy loss of each image (B,) from logits (B, K) and labels (B,)."""
    loss: Floats = log_sum_exp(logits) - logits[np.arange(len(labels)), labels]
    return loss
