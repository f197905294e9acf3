"""The keys of a grid file about trials, derived from the settings that `Trial` declares.

A setting that is added to `Trial` becomes an axis, a key of `train`, `include`, `when` and `set`, and part of the JSON
Schema without a change here.
"""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, NotRequired, Required

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetPydanticSchema, ValidationInfo, with_config
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict  # pydantic cannot read typing's own before Python 3.12

from jobs.grid.seeds import Seeds
from mnist_core.trial import SETTING_TYPES, SETTINGS, Trial, setting_kind

DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Trial) if field.default is not MISSING}
IDENTITY_SETTINGS = [name for name, setting in SETTINGS.items() if setting.role == "identity"]
TRAINING_SETTINGS = [name for name, setting in SETTINGS.items() if setting.role == "training"]
RESOURCE_SETTINGS = [name for name, setting in SETTINGS.items() if setting.role == "resource"]

BOOLEAN_WORDS = {"on": True, "yes": True, "off": False, "no": False}  # the booleans of YAML 1.1, still in wide use
ONE_OF_SEEDS: JsonDict = {"oneOf": [{"required": ["seed"]}, {"required": ["seeds"]}]}


def parse_bool(value: object) -> object:
    """Convert YAML 1.1's words for booleans (on, off, yes, no, in any case); return other values unchanged."""
    return BOOLEAN_WORDS.get(value.lower(), value) if isinstance(value, str) else value


def setting_field(name: str) -> FieldInfo:
    """Return a setting's bounds and description in pydantic's form."""
    setting, kind = SETTINGS[name], setting_kind(name)
    field: FieldInfo = Field(
        description=setting.description,
        strict=None if kind is str else True,  # pydantic has no strict mode for Literal
        ge=setting.ge,
        gt=setting.gt,
        le=setting.le,
        lt=setting.lt,
        allow_inf_nan=False if kind is float else None,
    )
    return field


def _within_dataset(size: int, validation: ValidationInfo) -> int:
    info = (validation.context or {}).get("dataset_info")
    if info is not None and size > info.train_size:
        raise ValueError(f"only {info.train_size} training images")
    return size


def _without_negative_zero(number: float) -> float:
    return number + 0.0  # -0.0 trains exactly like 0.0, but would change the trial's id


def _not_empty(settings: dict[str, Any]) -> dict[str, Any]:
    if not settings:
        raise ValueError("no setting is given")
    return settings


# What the bounds in Trial do not express.
_CHECKS_BY_TYPE: Mapping[type, Any] = {
    bool: BeforeValidator(parse_bool),
    float: AfterValidator(_without_negative_zero),
}
_CHECKS_BY_NAME: Mapping[str, Any] = {"subset_size": AfterValidator(_within_dataset)}


def _setting_type(name: str) -> Any:  # noqa: ANN401 - a type made at run time
    kind = setting_kind(name)
    of_pydantic: Any = Annotated[SETTING_TYPES[name] if kind is str else kind, setting_field(name)]
    for check in (_CHECKS_BY_TYPE.get(kind), _CHECKS_BY_NAME.get(name)):
        of_pydantic = Annotated[of_pydantic, check] if check else of_pydantic
    return of_pydantic


def _axis_type(name: str) -> Any:  # noqa: ANN401 - a type made at run time
    values: Any = list
    return Annotated[values[_setting_type(name)], Field(min_length=1, json_schema_extra={"uniqueItems": True})]


def _mapping(
    name: str,
    description: str,
    types: Mapping[str, Any],
    required: Collection[str] = (),
    schema_extra: JsonDict | None = None,
) -> GetPydanticSchema:
    """Validate a mapping as a TypedDict of these types; unlike a class, it can be made from data."""
    make_typed_dict: Any = TypedDict
    markers: tuple[Any, Any] = (NotRequired, Required)
    made = make_typed_dict(name, {key: markers[key in required][kind] for key, kind in types.items()})
    made.__doc__ = description
    made = with_config(ConfigDict(extra="forbid", json_schema_extra=schema_extra))(made)
    return GetPydanticSchema(lambda _source, handler: handler.generate_schema(made))


_IDENTITY = {name: _setting_type(name) for name in IDENTITY_SETTINGS}
_TRAINING = {name: _setting_type(name) for name in TRAINING_SETTINGS}
_IDENTITY_OF_CONFIGURATION = {name: kind for name, kind in _IDENTITY.items() if name != "seed"}
TrainSettings = Annotated[
    dict[str, Any],
    _mapping("TrainSettings", "Training settings; a setting that is left out has its default.", _TRAINING),
]
SomeTraining = Annotated[TrainSettings, AfterValidator(_not_empty), Field(json_schema_extra={"minProperties": 1})]
SomeSettings = Annotated[
    dict[str, Any],
    _mapping("TrialSettings", "Selects the trials that have all of these settings.", {**_IDENTITY, **_TRAINING}),
    AfterValidator(_not_empty),
    Field(json_schema_extra={"minProperties": 1}),
]
Levels = Annotated[
    dict[str, Any],
    _mapping("Levels", "One level for some of the axes.", {**_IDENTITY_OF_CONFIGURATION, **_TRAINING}),
]
IncludedTrial = Annotated[
    dict[str, Any],
    _mapping(
        "IncludedTrial",
        "A whole trial; a training setting that is left out has its value in `train`.",
        {**_IDENTITY, **_TRAINING},
        required=IDENTITY_SETTINGS,
    ),
]
Axes = Annotated[
    dict[str, Any],
    _mapping(
        "Axes",
        "The axes, each a list; the trials are their cross product.",
        {name: _axis_type(name) for name in IDENTITY_SETTINGS}
        | {"seeds": Seeds}
        | {name: _axis_type(name) for name in TRAINING_SETTINGS},
        required=[name for name in IDENTITY_SETTINGS if name != "seed"],
        schema_extra=ONE_OF_SEEDS,
    ),
]
