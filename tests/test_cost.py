"""The arithmetic of a trial against numbers computed by hand from the shapes of the layers."""

from typing import Literal

import pytest

from mnist_core.cost import flops, guess_seconds
from mnist_core.trial import Trial


def one_epoch(model: Literal["mlp", "cnn"], images: int, epochs: int = 1) -> Trial:
    return Trial(model=model, subset_size=images, adaptive_lr=False, seed=0, epochs=epochs)


# Two operations per multiplication. MLP: 784 x 64 + 64 x 10 multiplications forward; three times as many in training,
# less the gradient of the pixels. CNN: 24^2 x 25 x 6 + 8^2 x 150 x 16 + 256 x 120 + 120 x 84 + 84 x 10, likewise.
@pytest.mark.parametrize(("model", "forward", "training"), [("mlp", 101_632, 204_544), ("cnn", 563_280, 1_517_040)])
def test_the_cost_of_an_image(model: Literal["mlp", "cnn"], forward: int, training: int) -> None:
    one_image = one_epoch(model, images=1)
    assert flops(one_image, validation_size=1) - flops(one_image, validation_size=0) == forward
    assert flops(one_image, validation_size=0) - forward == training


def test_every_epoch_trains_once_and_evaluates_two_sets() -> None:
    trial = one_epoch("mlp", images=2_000, epochs=3)
    assert flops(trial, validation_size=5_000) == 3 * (2_000 * 204_544 + 7_000 * 101_632)


def test_a_wider_hidden_layer_costs_in_proportion() -> None:
    narrow = Trial(model="mlp", subset_size=10, adaptive_lr=False, seed=0, hidden_units=64)
    wide = Trial(model="mlp", subset_size=10, adaptive_lr=False, seed=0, hidden_units=128)
    assert flops(wide, validation_size=5) == 2 * flops(narrow, validation_size=5)


def test_a_guess_counts_the_arithmetic_and_the_steps() -> None:
    trial = Trial(model="mlp", subset_size=1_000, adaptive_lr=False, seed=0, epochs=3, batch_size=256)
    assert guess_seconds(trial, 500) == pytest.approx(flops(trial, 500) / 2e10 + 3 * 4 * 0.0002)
    cnn = Trial(model="cnn", subset_size=1_000, adaptive_lr=False, seed=0, epochs=1, batch_size=1_000)
    assert guess_seconds(cnn, 500) == pytest.approx(flops(cnn, 500) / 2e10 + 0.0007)
