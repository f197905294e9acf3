"""The grid: what a grid.yaml says, checked, and the trials it stands for."""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema

from jobs.errors import InputError, InputFault
from jobs.grid.expand import DEFAULTS, GridSpec, Problem, expand
from jobs.grid.messages import faults_of
from jobs.grid.settings import Axes, IncludedTrial, SomeSettings, SomeTraining, TrainSettings, parse_bool
from jobs.grid.yaml_document import Document, format_value, parse_yaml, read_text
from mnist_core.data import NAMED_DATASETS, DatasetInfo, inspect_dataset
from mnist_core.errors import DataError
from mnist_core.trial import Trial

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What is allowed, where a JSON Schema does not say it well.
ALLOWED = {
    "name": "1 to 64 letters, digits, '.', '_' and '-', a letter or digit first, no '..'",
    "dataset": "mnist, digits or {path: FOLDER}",
    "path": "the path of a folder, relative to the grid file",
}
DATASET_NAME, DATASET_FOLDER = "a dataset's name", "a dataset's folder"  # tags for pydantic
STARTER_GRID = Path(__file__).with_name("starter.yaml").read_text(encoding="utf-8")


def _safe_name(name: str) -> str:
    # It becomes a part of folder names.
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError("not a name")
    return name


def _printable(path: str) -> str:
    if not path.isprintable():
        raise ValueError("not on one line")
    return path


def _dataset_tag(value: object) -> str:
    return DATASET_FOLDER if isinstance(value, dict | DatasetFolder) else DATASET_NAME


class Section(BaseModel):
    """Base of the grid's mappings: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetFolder(Section):
    """A folder of four IDX files, gzipped or not."""

    path: Annotated[str, AfterValidator(_printable)] = Field(
        strict=True, min_length=1, description="The folder, relative to the grid file's."
    )


class Override(Section):
    """Training settings for some of the trials."""

    when: SomeSettings = Field(description="Which trials: those that have all of these settings.")
    set: SomeTraining = Field(description="What is different for them.")


class Resources(Section):
    """What every task gets."""

    cpus_per_trial: int = Field(default=1, strict=True, ge=1, le=1024, description="Threads per task.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: cuda where there is a GPU.")
    gpus_per_task: float = Field(
        default=1.0, strict=True, gt=0, le=1, description="Share of a GPU per task; 0.5 puts two tasks on each."
    )
    checkpoint_seconds: float = Field(
        default=30.0, strict=True, ge=0, allow_inf_nan=False, description="Between the checkpoints of a long trial."
    )
    hung_after_seconds: float = Field(
        default=600.0,
        strict=True,
        gt=0,
        allow_inf_nan=False,
        description="A task without a new epoch for so long, or for 20 times an epoch's usual time if that is longer, "
        "is killed and tried again.",
    )


class Grid(Section):
    """A study: which trials to train, on which dataset."""

    name: Annotated[str, AfterValidator(_safe_name)] = Field(
        strict=True,
        description="What the job is called, in its job_id and its folder.",
        json_schema_extra={"pattern": rf"^(?!.*\.\.){NAME.pattern}$"},
    )
    dataset: Annotated[
        Annotated[Literal["mnist", "digits"], Tag(DATASET_NAME)] | Annotated[DatasetFolder, Tag(DATASET_FOLDER)],
        Discriminator(_dataset_tag),
    ] = Field(description="mnist (fetched once), digits (comes with scikit-learn), or a folder of IDX files.")
    grid: Axes = Field(description="The axes, each a list; the trials are their cross product.")
    train: TrainSettings = Field(
        default_factory=TrainSettings,
        description="Settings of every trial. Defaults: "
        + ", ".join(f"{name} {DEFAULTS[name]}" for name in TrainSettings.__annotations__),
    )
    exclude: list[SomeSettings] = Field(default=[], description="Drops the trials that match all keys of an entry.")
    include: list[IncludedTrial] = Field(default=[], description="Adds whole trials, after exclusion.")
    overrides: list[Override] = Field(default=[], description="Changes settings of the trials matched, in order.")
    resources: Resources = Field(default=Resources(), description="What every task gets.")
    retries: int = Field(
        default=2,
        strict=True,
        ge=0,
        le=10,
        description="How often a trial is tried again after a crash, a hang or a full disk.",
    )
    fail_fast: Annotated[bool, BeforeValidator(parse_bool)] = Field(
        default=False, strict=True, description="Whether the first trial that fails ends the job."
    )

    _text: str = PrivateAttr()
    _folder: Path = PrivateAttr()
    _dataset_info: DatasetInfo = PrivateAttr()

    @property
    def text(self) -> str:
        """The YAML as the user wrote it."""
        return self._text

    @property
    def dataset_info(self) -> DatasetInfo:
        """The dataset's sizes and fingerprint, looked up when the grid was read."""
        return self._dataset_info

    def dataset_source(self) -> str | Path:
        """Give the dataset's name, or the absolute path of its folder."""
        return self.dataset if isinstance(self.dataset, str) else _folder_of(self.dataset.path, self._folder)

    def trials(self) -> list[Trial]:
        """List the trials in the order of `expand`."""
        return list(self._expansion[0])

    @cached_property
    def _expansion(self) -> tuple[list[Trial], list[Problem]]:
        axes: dict[str, Any] = dict(self.grid)
        if "seeds" in axes:
            axes["seed"] = range(axes.pop("seeds"))
        return expand(
            GridSpec(
                axes=axes,
                train={**self.train, "cpus_per_trial": self.resources.cpus_per_trial},
                exclude=[dict(settings) for settings in self.exclude],
                include=[dict(settings) for settings in self.include],
                overrides=[(dict(override.when), dict(override.set)) for override in self.overrides],
            )
        )


def load_grid(path: Path) -> Grid:
    """Read and check a grid file; raises InputError with every fault found."""
    return parse_grid(read_text(path), file=str(path), folder=path.parent)


def parse_grid(text: str, *, file: str, folder: Path, dataset_info: DatasetInfo | None = None) -> Grid:
    """Check the text of a grid file; raises InputError with every fault found.

    Faults name it `file`; a dataset's path is relative to `folder`. The dataset is looked up unless its info is given.
    """
    document = parse_yaml(text, file)
    faults = [*document.faults, *_cross_faults(document)]
    info = dataset_info or _look_up_dataset(document, folder, faults)
    grid = _validate(document, info, faults)
    if faults or grid is None or info is None:
        raise InputError(faults)
    grid._text, grid._folder, grid._dataset_info = text, folder, info
    if problems := grid._expansion[1]:
        raise InputError([document.fault(problem.path, problem.message) for problem in problems])
    return grid


def grid_schema() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of a grid file, for editors."""
    dialect = {"$schema": GenerateJsonSchema.schema_dialect}
    return dialect | Grid.model_json_schema(schema_generator=_UntitledJsonSchema)


class _UntitledJsonSchema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        return False  # pydantic's titles repeat the names


def _folder_of(path: str, folder: Path) -> Path:
    return (folder / os.path.expanduser(path)).absolute()


def _look_up_dataset(document: Document, folder: Path, faults: list[InputFault]) -> DatasetInfo | None:
    """Describe the dataset, or add a fault where its folder cannot be read; other faults are found elsewhere."""
    name = document.data.get("dataset") if isinstance(document.data, dict) else None
    path = (_section(document, "dataset") or {}).get("path")
    if isinstance(name, str) and name in NAMED_DATASETS:
        return inspect_dataset(name)
    if isinstance(path, str) and path and path.isprintable():
        try:
            return inspect_dataset(_folder_of(path, folder))
        except (DataError, OSError) as error:
            faults.append(document.fault(("dataset", "path"), str(error)))
    return None


def _validate(document: Document, info: DatasetInfo | None, faults: list[InputFault]) -> Grid | None:
    try:
        return Grid.model_validate(document.data, context={"dataset_info": info})
    except ValidationError as error:
        sizes = f"1 to {info.train_size}, the training images of {info.name}" if info else "1 or more"
        allowed = ALLOWED | {"subset_size": sizes}
        faults += faults_of(error, document, grid_schema(), allowed, (DATASET_NAME, DATASET_FOLDER))
        return None


def _section(document: Document, key: str) -> dict[str, Any] | None:
    """Give a mapping of the unchecked document, or None where it is not there or not a mapping."""
    section = document.data.get(key) if isinstance(document.data, dict) else None
    return section if isinstance(section, dict) else None


def _cross_faults(document: Document) -> Iterator[InputFault]:
    """Find what is wrong between keys that are right by themselves."""
    axes = _section(document, "grid")
    if axes is None:
        return
    # A misspelt one is a fault already.
    if not any(get_close_matches(key[:60], ("seed", "seeds")) for key in axes):
        yield document.fault(("grid",), "missing key 'seed'; give seed: [0, 1, 2] or seeds: 3")
    if "seed" in axes and "seeds" in axes:
        yield document.fault(("grid", "seeds"), "stands beside seed; give one of the two", at_key=True)
    for key in (_section(document, "train") or {}).keys() & axes.keys():
        yield document.fault(("train", key), f"{key} is an axis of grid already; keep one of the two", at_key=True)
    for key, values in axes.items():
        yield from _repeated(document, key, values)


def _repeated(document: Document, axis: str, values: object) -> Iterator[InputFault]:
    first: dict[tuple[bool, Any], int] = {}
    for number, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, str | int | float):
            meant = parse_bool(value) if axis == "adaptive_lr" else value
            # 1 and True are equal, but not the same setting.
            earlier = first.setdefault((isinstance(meant, bool), meant), number)
            if earlier != number:
                line, column = document.values["grid", axis, earlier]
                message = (
                    f"{axis} {format_value(value)} stands at line {line}, column {column} already; remove one of them"
                )
                yield document.fault(("grid", axis, number), message)
