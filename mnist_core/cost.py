"""What a trial costs in arithmetic, counted from its shapes."""

from mnist_core.mlp import DIGITS, PIXELS
from mnist_core.trial import Trial

# Multiplications of the CNN for one image, forward: positions x inputs x outputs of each layer.
_CNN_FIRST_LAYER = 24 * 24 * 25 * 6
_CNN_FORWARD = _CNN_FIRST_LAYER + 8 * 8 * (6 * 25) * 16 + 256 * 120 + 120 * 84 + 84 * DIGITS


def flops(trial: Trial, validation_size: int) -> float:
    """Count the floating-point operations of a whole trial.

    Training an image costs the forward pass, as much for the weights' gradients, and as much again for the inputs'
    gradients in every layer but the first. Each epoch trains the subset once and evaluates it and the validation set.
    """
    if trial.model == "mlp":
        assert trial.hidden_units is not None
        first, forward = PIXELS * trial.hidden_units, (PIXELS + DIGITS) * trial.hidden_units
    else:
        first, forward = _CNN_FIRST_LAYER, _CNN_FORWARD
    train = 2 * (3 * forward - first)
    evaluate = 2 * forward
    images = trial.subset_size
    return float(trial.epochs * (images * train + (images + validation_size) * evaluate))
