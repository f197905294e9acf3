"""A trial: one point of the grid, and the only declaration of its settings.

The keys and bounds of a grid, the columns of the tables and the shape of a pack are derived from `SETTINGS`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Model = Literal["mlp", "cnn"]
Precision = Literal["float32", "tf32", "bfloat16"]
Numerics = Literal["pinned", "native"]

# Increment this when the same trial on the same dataset would give different numbers: all stored trials become stale.
NUMERICS_VERSION = 3

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Describe one setting: its meaning, its bounds, and the trials that use it."""

    description: str  # one sentence
    role: Literal["identity", "training", "resource"] = "training"  # identity: names the trial and has no default
    ge: float | None = None  # bounds, as annotated-types names them
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    # (setting, value): used only where that setting has that value, and None elsewhere.
    only_where: tuple[str, str | bool] | None = None
    same_in_pack: bool = True  # True: it shapes the arrays or the loops, so all trials of a pack must share it
    in_id_at_default: bool = True  # False: added later, and ids leave it out where it has its default


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Hold every setting that determines a trial's numbers, except the dataset.

    Settings that the model or the learning-rate schedule does not use are set to None, so that two trials with the
    same numbers compare equal.
    """

    model: Annotated[
        Model,
        Setting(
            description="mlp: one hidden layer, NumPy; cnn: two convolutions and three layers, PyTorch.",
            role="identity",
        ),
    ]
    subset_size: Annotated[
        int,
        Setting(
            description="Number of training images; at most the size of the dataset's training set.",
            role="identity",
            ge=1,
        ),
    ]
    adaptive_lr: Annotated[
        bool,
        Setting(
            description="Whether the learning rate is multiplied by lr_decay after every epoch.",
            role="identity",
            same_in_pack=False,
        ),
    ]
    seed: Annotated[
        int,
        Setting(
            description="Determines the subset, the initial weights and the shuffles.",
            role="identity",
            ge=0,
            le=2**63 - 1,
            same_in_pack=False,
        ),
    ]
    epochs: Annotated[int, Setting(description="Passes over the subset.", ge=1, le=1_000_000)] = 100
    batch_size: Annotated[int, Setting(description="Images per step.", ge=1, le=1_000_000)] = 256
    learning_rate: Annotated[
        float,
        Setting(
            description="Step size; multiplies the gradient summed over the batch.", gt=0, le=1e38, same_in_pack=False
        ),
    ] = 0.001
    lr_decay: Annotated[
        float | None,
        Setting(
            description="Factor that multiplies the learning rate after every epoch; only with adaptive_lr.",
            gt=0,
            le=1,
            only_where=("adaptive_lr", True),
            same_in_pack=False,
        ),
    ] = 0.97
    momentum: Annotated[
        float,
        Setting(
            description="Fraction of the previous step that is added to each step.", ge=0, lt=1, same_in_pack=False
        ),
    ] = 0.0
    hidden_units: Annotated[
        int | None,
        Setting(description="Width of the hidden layer; only with mlp.", ge=1, le=65_536, only_where=("model", "mlp")),
    ] = 64
    weight_init_std: Annotated[
        float | None,
        Setting(
            description="Standard deviation of the initial weights; only with mlp.",
            gt=0,
            le=1e30,  # float32 ends at 3e38
            only_where=("model", "mlp"),
            same_in_pack=False,
        ),
    ] = 0.1
    # The number of threads determines the order of the sums, and so their last bits.
    cpus_per_trial: Annotated[int, Setting(description="Threads per task.", role="resource", ge=1, le=1024)] = 1
    precision: Annotated[
        Precision, Setting(description="float32; tf32 and bfloat16 are faster and less exact, on CUDA only.")
    ] = "float32"
    numerics: Annotated[
        Numerics,
        Setting(
            description=(
                "pinned: equal bits on every x86-64 CPU with AVX2; native: the kernels that the CPU prefers, "
                "whose last bits differ between CPUs."
            ),
            in_id_at_default=False,
        ),
    ] = "pinned"

    def __post_init__(self) -> None:
        for setting in unused_settings(self.model, self.adaptive_lr):
            object.__setattr__(self, setting, None)


def _read_settings() -> tuple[dict[str, Setting], dict[str, Any]]:
    """Split the annotations of `Trial` into settings and plain types, both by name."""
    settings: dict[str, Setting] = {}
    types: dict[str, Any] = {}
    for name, hint in get_type_hints(Trial, include_extras=True).items():
        types[name], settings[name] = get_args(hint)
    return settings, types


SETTINGS: Mapping[str, Setting]
SETTING_TYPES: Mapping[str, Any]  # as annotated in Trial: int, float | None, Literal[...]
SETTINGS, SETTING_TYPES = _read_settings()


def setting_kind(name: str) -> type:
    """Return the type of a setting's values, None aside: str, int, float or bool."""
    options = [kind for kind in get_args(SETTING_TYPES[name]) if kind is not type(None)]
    if get_origin(SETTING_TYPES[name]) is Literal:
        return str
    kind: type = options[0] if options else SETTING_TYPES[name]
    return kind


def unused_settings(model: str, adaptive_lr: bool) -> tuple[str, ...]:
    """Return the names of the settings that a trial of this model and schedule does not use."""
    chosen = {"model": model, "adaptive_lr": adaptive_lr}
    conditions = {name: setting.only_where for name, setting in SETTINGS.items() if setting.only_where}
    return tuple(name for name, (other, value) in conditions.items() if chosen[other] != value)


def pack_shape(trial: Trial) -> tuple[object, ...]:
    """Return the settings that all trials of one pack must share, because they shape its arrays and loops."""
    return tuple(getattr(trial, name) for name, setting in SETTINGS.items() if setting.same_in_pack)


def trial_id(trial: Trial, dataset_fingerprint: str) -> str:
    """Hash everything that determines a trial's numbers.

    Args:
        trial: The trial.
        dataset_fingerprint: sha256 of the dataset's splits, in hexadecimal.

    Returns:
        32 hexadecimal digits.
    """
    return _digest({"numerics_version": NUMERICS_VERSION, "dataset": dataset_fingerprint, **_identity(trial)})[:32]


def configuration_id(trial: Trial, dataset_fingerprint: str) -> str:
    """Hash the settings that a trial shares with its replicates: all but the seed, and the dataset.

    Args:
        trial: The trial.
        dataset_fingerprint: sha256 of the dataset's splits, in hexadecimal.

    Returns:
        8 hexadecimal digits.
    """
    settings = {name: value for name, value in _identity(trial).items() if name != "seed"}
    return _digest({"dataset": dataset_fingerprint, **settings})[:8]


def _identity(trial: Trial) -> dict[str, object]:
    """Return the settings that ids are hashed from."""
    left_out = {name for name, setting in SETTINGS.items() if not setting.in_id_at_default}
    return {
        name: value
        for name, value in vars(trial).items()
        if name not in left_out or value != getattr(Trial, name)  # the class holds the defaults
    }


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(_ENCODER.encode(content).encode()).hexdigest()
