"""The grid: the checked contents of a grid file, and the trials that it asks for."""

import os
import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from jobs.errors import Correction, InputError, InputFault
from jobs.grid.cross_checks import cross_faults, section
from jobs.grid.document import Document, append, remove
from jobs.grid.expand import GridSpec, Problem, expand
from jobs.grid.messages import faults_of
from jobs.grid.points import POINTS
from jobs.grid.scalars import yaml_text
from jobs.grid.schema_nodes import with_maximum
from jobs.grid.sections import Compare, DatasetFolder, Override, Resources, Section, unknown_levels
from jobs.grid.seed_checks import until_problem
from jobs.grid.seeds import SEED_COUNT, SEEDS_UNTIL, UNTIL, SeedsUntil, seed_values
from jobs.grid.settings import (
    DEFAULTS,
    RESOURCE_SETTINGS,
    TRAINING_SETTINGS,
    Axes,
    IncludedTrial,
    SomeSettings,
    TrainSettings,
    parse_bool,
)
from jobs.grid.source import STDIN, read_stdin, read_text
from jobs.grid.yaml_document import parse_yaml
from mnist_core.data import NAMED_DATASETS, DatasetInfo, inspect_dataset
from mnist_core.errors import DataError
from mnist_core.trial import Trial

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Descriptions of allowed values, where the JSON Schema does not describe them well.
ALLOWED = {
    "name": "1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit, without '..'",
    "dataset": "mnist, digits or {path: FOLDER}",
    "path": "the path of a folder, relative to the grid file",
    "margin": POINTS,
    "until": UNTIL,
}
DATASET_NAME, DATASET_FOLDER = "a dataset's name", "a dataset's folder"  # pydantic's tags for the two forms
UNION_TAGS = (DATASET_NAME, DATASET_FOLDER, SEED_COUNT, SEEDS_UNTIL)
OPTIONAL_SECTIONS = ("train", "exclude", "include", "overrides", "compare", "resources")
SCHEMA_FILE = "grid.schema.json"  # the name by which the starter grid refers to its JSON Schema
STARTER_GRID = Path(__file__).with_name("starter.yaml").read_text(encoding="utf-8")


def _safe_name(name: str) -> str:
    # It becomes part of folder names.
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError("not a name")
    return name


def _dataset_tag(value: object) -> str:
    return DATASET_FOLDER if isinstance(value, dict | DatasetFolder) else DATASET_NAME


class Grid(Section):
    """A study: which trials to train, and on which dataset."""

    name: Annotated[str, AfterValidator(_safe_name)] = Field(
        strict=True,
        description="The job's name, which begins its job_id and the name of its folder.",
        json_schema_extra={"pattern": rf"^(?!.*\.\.){NAME.pattern}$"},
    )
    dataset: Annotated[
        Annotated[Literal["mnist", "digits"], Tag(DATASET_NAME)] | Annotated[DatasetFolder, Tag(DATASET_FOLDER)],
        Discriminator(_dataset_tag),
    ] = Field(description="mnist (downloaded once), digits (part of scikit-learn), or a folder of IDX files.")
    grid: Axes = Field(description="The axes, each a list; the trials are their cross product.")
    train: TrainSettings = Field(
        default={},
        description="Settings of every trial. Defaults: "
        + ", ".join(f"{name} {DEFAULTS[name]}" for name in TRAINING_SETTINGS),
    )
    exclude: list[SomeSettings] = Field(default=[], description="Drops the trials that match all keys of an entry.")
    include: list[IncludedTrial] = Field(default=[], description="Adds whole trials, after exclusion.")
    overrides: list[Override] = Field(default=[], description="Changes settings of the matching trials, in order.")
    compare: Compare = Field(default=Compare(), description="How the configurations are compared.")
    resources: Resources = Field(default=Resources(), description="What each task may use.")
    retries: int = Field(
        default=2,
        strict=True,
        ge=0,
        le=10,
        description="How often a trial is tried again after a crash, a hang or a full disk.",
    )
    fail_fast: Annotated[bool, BeforeValidator(parse_bool)] = Field(
        default=False, strict=True, description="Whether the first failed trial ends the job."
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty_sections(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        """Leave out a section whose entries are all commented out."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in OPTIONAL_SECTIONS}

    _text: str = PrivateAttr()
    _folder: Path = PrivateAttr()
    _dataset_info: DatasetInfo = PrivateAttr()
    _trials: list[Trial] = PrivateAttr()

    @property
    def text(self) -> str:
        """The YAML as the user wrote it."""
        return self._text

    @property
    def folder(self) -> Path:
        """The absolute path of the folder to which a dataset's path is relative."""
        return self._folder.absolute()

    @property
    def dataset_info(self) -> DatasetInfo:
        """The dataset's sizes and fingerprint, looked up when the grid was read."""
        return self._dataset_info

    @property
    def seeds_until(self) -> SeedsUntil | None:
        """The rule by which the seeds end; None where their number is given."""
        seeds = self.grid.get("seeds")
        return seeds if isinstance(seeds, SeedsUntil) else None

    def dataset_source(self) -> str | Path:
        """Return the dataset's name, or the absolute path of its folder."""
        return self.dataset if isinstance(self.dataset, str) else _folder_of(self.dataset.path, self._folder)

    def trials(self) -> list[Trial]:
        """Return the trials in the order of `expand`."""
        return list(self._trials)


def load_grid(path: Path) -> Grid:
    """Read and check a grid file.

    Args:
        path: The file; a dataset's path in it is relative to its folder.

    Raises:
        InputError: The file or its dataset cannot be read, or the grid has mistakes; all of them are reported.
    """
    return parse_grid(read_text(path), file=str(path), folder=path.parent)


def read_grid() -> Grid:
    """Read and check a grid on the standard input; a dataset's path in it is relative to the working directory.

    Raises:
        InputError: As `load_grid` does.
    """
    return parse_grid(read_stdin(), file=STDIN, folder=Path())


def parse_grid(text: str, *, file: str, folder: Path, dataset_info: DatasetInfo | None = None) -> Grid:
    """Check the text of a grid file.

    Args:
        text: The YAML.
        file: The file's name in faults.
        folder: The folder to which a dataset's path is relative.
        dataset_info: The dataset's sizes and fingerprint; by default they are looked up.

    Raises:
        InputError: The grid has mistakes, all of which are reported, or its dataset cannot be read.
    """
    document = parse_yaml(text, file)
    faults = [*document.faults, *cross_faults(document)]
    info = dataset_info or _look_up_dataset(document, folder, faults)
    grid = _validate(document, info, faults)
    if faults or grid is None or info is None:
        raise InputError(faults)
    grid._text, grid._folder, grid._dataset_info = text, folder, info
    grid._trials, problems = expand(_spec(grid))
    if problems or (faults := [*_baseline_faults(grid, document), *_until_faults(grid, document)]):
        raise InputError([_fault_of(problem, document) for problem in problems] or faults)
    return grid


def _baseline_faults(grid: Grid, document: Document) -> list[InputFault]:
    """Refuse a baseline that no trial has."""
    levels = {axis: {getattr(trial, axis) for trial in grid._trials} for axis in grid.compare.baseline}
    return [
        document.fault(
            ("compare", "baseline", axis),
            f"{axis} {yaml_text(grid.compare.baseline[axis])}: no trial has it; allowed: "
            + ", ".join(map(yaml_text, known)),
        )
        for axis, known in unknown_levels(grid.compare, levels).items()
    ]


def _until_faults(grid: Grid, document: Document) -> list[InputFault]:
    """Refuse seeds until an answer where the trials leave nothing to ask, or not every configuration every seed."""
    if not grid.seeds_until:
        return []
    problem = until_problem(grid._trials, grid.seeds_until)
    return [document.fault(("grid", "seeds"), problem)] if problem else []


def _fault_of(problem: Problem, document: Document) -> InputFault:
    """Locate a fault of the trials, and add the edits that mend it."""
    corrections: tuple[Correction, ...] = ()
    if problem.remove:
        corrections = (remove(document, problem.remove),)
    elif problem.exclude:
        corrections = (append(document, ("exclude",), list(map(yaml_text, problem.exclude))),)
    return document.fault(problem.path, problem.message, corrections=corrections)


def grid_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a grid file, for editors."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **deepcopy(_schema())}


@cache
def _schema() -> dict[str, Any]:
    """Return the schema without its dialect; making it takes as long as reading a grid."""
    return Grid.model_json_schema(schema_generator=_UntitledJsonSchema)


class _UntitledJsonSchema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        return False  # pydantic's titles repeat the names


def _folder_of(path: str, folder: Path) -> Path:
    return (folder / os.path.expanduser(path)).absolute()


def _spec(grid: Grid) -> GridSpec:
    axes: dict[str, Any] = dict(grid.grid)
    if "seeds" in axes:
        axes["seed"] = seed_values(axes.pop("seeds"))
    return GridSpec(
        axes=axes,
        train={**grid.train, **{name: getattr(grid.resources, name) for name in RESOURCE_SETTINGS}},
        exclude=grid.exclude,
        include=grid.include,
        overrides=[(override.when, override.set) for override in grid.overrides],
    )


def _look_up_dataset(document: Document, folder: Path, faults: list[InputFault]) -> DatasetInfo | None:
    """Describe the dataset; add a fault if its folder cannot be read. A malformed `dataset` is reported elsewhere."""
    name = document.data.get("dataset") if isinstance(document.data, dict) else None
    path = (section(document, "dataset") or {}).get("path")
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
        schema = with_maximum(_schema(), "subset_size", info.train_size) if info else _schema()
        faults += faults_of(error, document, schema, allowed, UNION_TAGS)
        return None
