"""A trial: one point of the grid, and the identity of the numbers it will give."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, get_args

Model = Literal["mlp", "cnn"]
Precision = Literal["float32", "tf32", "bfloat16"]
MODELS: tuple[str, ...] = get_args(Model)

# Raise it whenever the same trial on the same dataset would give other numbers: every stored trial is then stale.
NUMERICS_VERSION = 2

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Hold every setting that decides a trial's numbers, apart from its dataset.

    A setting that the model or the schedule does not use is None, so that two trials with equal numbers are equal.
    """

    model: Model
    subset_size: int  # training images
    adaptive_lr: bool  # multiply the learning rate by lr_decay after every epoch
    seed: int
    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 0.001  # applied to gradients summed over the batch
    lr_decay: float | None = 0.97  # None where adaptive_lr is false
    momentum: float = 0.0
    hidden_units: int | None = 64  # the MLP's; None for the CNN
    weight_init_std: float | None = 0.1  # the MLP's; None for the CNN
    cpus_per_trial: int = 1  # threads of the arithmetic: the order of its sums, and so their last bits, hang on them
    precision: Precision = "float32"  # of the products; tf32 and bfloat16 are CUDA's

    def __post_init__(self) -> None:
        for setting in unused_settings(self.model, self.adaptive_lr):
            object.__setattr__(self, setting, None)


def unused_settings(model: str, adaptive_lr: bool) -> tuple[str, ...]:
    """Name the settings that do not influence a trial of this model and schedule."""
    of_model = ("hidden_units", "weight_init_std") if model == "cnn" else ()
    return of_model if adaptive_lr else (*of_model, "lr_decay")


def trial_id(trial: Trial, dataset_fingerprint: str) -> str:
    """Hash everything that decides the trial's numbers into 32 hexadecimal digits."""
    identity = {"numerics": NUMERICS_VERSION, "dataset": dataset_fingerprint, **vars(trial)}
    return hashlib.sha256(_ENCODER.encode(identity).encode()).hexdigest()[:32]
