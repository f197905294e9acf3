"""What a trial costs in arithmetic, counted from its shapes."""

from mnist_core.data import DIGITS, PIXELS
from mnist_core.trial import Model, Trial

# Multiplications of the CNN for one image, forward: positions x inputs x outputs of each layer.
_CNN_FIRST_LAYER = 24 * 24 * 25 * 6
_CNN_FORWARD = _CNN_FIRST_LAYER + 8 * 8 * (6 * 25) * 16 + 256 * 120 + 120 * 84 + 84 * DIGITS

# What one core of a laptop does: to begin with, until trials have been timed where they run.
_FLOPS_PER_SECOND = 2e10
_SECONDS_PER_STEP: dict[Model, float] = {"mlp": 0.0002, "cnn": 0.0007}  # of a batch, however small


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


def guess_seconds(trial: Trial, validation_size: int) -> float:
    """Guess how long a trial takes on a CPU of which nothing is known: its arithmetic, and something for every step."""
    steps = trial.epochs * -(-trial.subset_size // trial.batch_size)
    return flops(trial, validation_size) / _FLOPS_PER_SECOND + steps * _SECONDS_PER_STEP[trial.model]
