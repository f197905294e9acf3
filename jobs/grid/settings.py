"""What a grid file may say of trials: every setting with its bounds and description, and the mappings they stand in."""

from typing import Annotated, Any, Required, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict  # pydantic cannot read typing's own before Python 3.12

from mnist_core.trial import Model, Precision

WORDS = {"on": True, "yes": True, "off": False, "no": False}  # the booleans of YAML 1.1, still in wide use


def _within_dataset(size: int, validation: ValidationInfo) -> int:
    info = (validation.context or {}).get("dataset_info")
    if info is not None and size > info.train_size:
        raise ValueError(f"only {info.train_size} training images")
    return size


def parse_bool(value: object) -> object:
    """Take a boolean's word of YAML 1.1 for the boolean, and leave anything else as it is."""
    return WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _not_empty(settings: Any) -> Any:  # noqa: ANN401 - pydantic calls it with what it has validated
    if not settings:
        raise ValueError("no setting is given")
    return settings


ModelName = Annotated[
    Model, Field(description="mlp: one hidden layer, NumPy; cnn: two convolutions and three layers, PyTorch.")
]
SubsetSize = Annotated[
    int,
    Field(strict=True, ge=1, description="Training images used; at most as many as the dataset has."),
    AfterValidator(_within_dataset),
]
AdaptiveLr = Annotated[
    bool,
    Field(strict=True, description="Whether the learning rate is multiplied by lr_decay after every epoch."),
    BeforeValidator(parse_bool),
]
Seed = Annotated[
    int,
    Field(strict=True, ge=0, le=2**63 - 1, description="Decides the subset, the first weights and the shuffles."),
]
Epochs = Annotated[int, Field(strict=True, ge=1, le=1_000_000, description="Passes over the subset.")]
BatchSize = Annotated[int, Field(strict=True, ge=1, le=1_000_000, description="Images per step.")]
LearningRate = Annotated[
    float,
    Field(strict=True, gt=0, le=1e38, allow_inf_nan=False, description="Step per gradient summed over the batch."),
]
LrDecay = Annotated[
    float,
    Field(strict=True, gt=0, le=1, description="Factor of the learning rate per epoch; only with adaptive_lr."),
]
Momentum = Annotated[
    float,
    Field(strict=True, ge=0, lt=1, description="Share of the last step that the next one repeats."),
    AfterValidator(abs),  # -0.0 trains as 0.0 does, but would have a trial_id of its own
]
HiddenUnits = Annotated[
    int, Field(strict=True, ge=1, le=65_536, description="Width of the hidden layer; only with mlp.")
]
WeightInitStd = Annotated[
    float,
    Field(
        strict=True,
        gt=0,
        le=1e30,  # float32 ends at 3e38
        allow_inf_nan=False,
        description="Standard deviation of the first weights; only with mlp.",
    ),
]

PrecisionName = Annotated[
    Precision, Field(description="float32; tf32 and bfloat16 are faster and less exact, on CUDA only.")
]

Item = TypeVar("Item")
Axis = Annotated[list[Item], Field(min_length=1, json_schema_extra={"uniqueItems": True})]


@with_config(ConfigDict(extra="forbid"))
class TrainSettings(TypedDict, total=False):
    """Training settings; those left out have their defaults."""

    epochs: Epochs
    batch_size: BatchSize
    learning_rate: LearningRate
    lr_decay: LrDecay
    momentum: Momentum
    hidden_units: HiddenUnits
    weight_init_std: WeightInitStd
    precision: PrecisionName


@with_config(ConfigDict(extra="forbid"))
class TrialSettings(TrainSettings, total=False):
    """Settings that pick out the trials which have all of them."""

    model: ModelName
    subset_size: SubsetSize
    adaptive_lr: AdaptiveLr
    seed: Seed


@with_config(ConfigDict(extra="forbid"))
class IncludedTrial(TrainSettings):
    """A whole trial; the training settings left out are those of `train`."""

    model: ModelName
    subset_size: SubsetSize
    adaptive_lr: AdaptiveLr
    seed: Seed


ONE_OF_SEEDS: JsonDict = {"oneOf": [{"required": ["seed"]}, {"required": ["seeds"]}]}


@with_config(ConfigDict(extra="forbid", json_schema_extra=ONE_OF_SEEDS))
class Axes(TypedDict, total=False):
    """The axes, each a list; the trials are their cross product."""

    model: Required[Axis[ModelName]]
    subset_size: Required[Axis[SubsetSize]]
    adaptive_lr: Required[Axis[AdaptiveLr]]
    seed: Axis[Seed]
    seeds: Annotated[int, Field(strict=True, ge=1, le=1_000_000, description="5 means seed: [0, 1, 2, 3, 4].")]
    epochs: Axis[Epochs]
    batch_size: Axis[BatchSize]
    learning_rate: Axis[LearningRate]
    lr_decay: Axis[LrDecay]
    momentum: Axis[Momentum]
    hidden_units: Axis[HiddenUnits]
    weight_init_std: Axis[WeightInitStd]
    precision: Axis[PrecisionName]


SomeSettings = Annotated[TrialSettings, AfterValidator(_not_empty), Field(json_schema_extra={"minProperties": 1})]
SomeTraining = Annotated[TrainSettings, AfterValidator(_not_empty), Field(json_schema_extra={"minProperties": 1})]
