"""The arithmetic of a trial, counted from the shapes of its layers."""

from mnist_core.data import DIGITS, PIXELS
from mnist_core.trial import Model, Trial

# Multiplications of the CNN's forward pass for one image: positions x inputs x outputs, layer by layer.
_CNN_FIRST_LAYER = 24 * 24 * 25 * 6
_CNN_FORWARD = _CNN_FIRST_LAYER + 8 * 8 * (6 * 25) * 16 + 256 * 120 + 120 * 84 + 84 * DIGITS

# One core of a laptop, roughly: used until trials have been timed on the machines that run them.
_FLOPS_PER_SECOND = 2e10
_SECONDS_PER_STEP: dict[Model, float] = {"mlp": 0.0002, "cnn": 0.0007}  # overhead of a step, whatever its batch size


def flops(trial: Trial, validation_size: int) -> float:
    """Count the floating-point operations of a whole trial.

    Training on an image costs a forward pass, the same again for the gradients of the weights, and the same again
    for the gradients of the inputs in every layer but the first. Each epoch trains on the subset once, then passes
    the subset and the validation set forward.

    Args:
        trial: The trial to count.
        validation_size: Number of images in the validation set.
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
    """Estimate the seconds of a trial on one CPU core of unknown speed.

    Args:
        trial: The trial to estimate.
        validation_size: Number of images in the validation set.
    """
    steps = trial.epochs * -(-trial.subset_size // trial.batch_size)
    return flops(trial, validation_size) / _FLOPS_PER_SECOND + steps * _SECONDS_PER_STEP[trial.model]
