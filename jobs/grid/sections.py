"""The mappings of a grid file: its dataset's folder, overrides, resources, and what its answers are compared with."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.grid.points import POINTS_PATTERN, check_points, fraction_of
from jobs.grid.settings import DEFAULTS, Levels, SomeSettings, SomeTraining, setting_field


def _printable(path: str) -> str:
    if not path.isprintable():
        raise ValueError("not printable")
    return path


class Section(BaseModel):
    """Base of the grid's mappings: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetFolder(Section):
    """A folder of four IDX files, gzipped or not."""

    path: Annotated[str, AfterValidator(_printable)] = Field(
        strict=True, min_length=1, description="The folder, relative to the grid file."
    )


class Override(Section):
    """Training settings for some of the trials."""

    when: SomeSettings = Field(description="Selects the trials that have all of these settings.")
    set: SomeTraining = Field(description="The settings that these trials get instead.")


class Compare(Section):
    """The levels with which the job's configurations are compared, and the difference that does not matter."""

    baseline: Levels = Field(
        default={},
        description="For some axes, the level with which all others are compared; by default neighbours on an axis of "
        "numbers, and every pair on any other.",
    )
    margin: Annotated[str, AfterValidator(check_points)] = Field(
        default="",
        strict=True,
        description="The difference in test accuracy below which two configurations count as equally good, such as "
        "0.3pp; without one, none does.",
        json_schema_extra={"pattern": POINTS_PATTERN},
    )

    @property
    def margin_fraction(self) -> float | None:
        """The margin as a fraction, or None where there is none."""
        return fraction_of(self.margin) if self.margin else None


class Resources(Section):
    """The resources of each task, and how long it may run without progress."""

    cpus_per_trial: Annotated[int, setting_field("cpus_per_trial")] = DEFAULTS["cpus_per_trial"]
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the trials are trained; auto: on cuda if there is a GPU, else on the CPU."
    )
    gpus_per_task: float = Field(
        default=1.0, strict=True, gt=0, le=1, description="Share of a GPU per task; 0.5 puts two tasks on each GPU."
    )
    checkpoint_seconds: float = Field(
        default=30.0, strict=True, ge=0, allow_inf_nan=False, description="Time between checkpoints of a long trial."
    )
    hung_after_seconds: float = Field(
        default=600.0,
        strict=True,
        gt=0,
        allow_inf_nan=False,
        description="A task that finishes no epoch for this long, and for 20 times the usual time of an epoch, is "
        "killed and tried again.",
    )


def unknown_levels(compare: Compare, levels: dict[str, set[Any]]) -> dict[str, list[Any]]:
    """Find the axes whose baseline is no level of theirs.

    Args:
        compare: The comparison that the grid asks for.
        levels: The values of every setting over all trials.

    Returns:
        The levels that there are, by axis.
    """
    wrong = {axis for axis, level in compare.baseline.items() if level not in levels[axis]}
    return {axis: sorted(levels[axis] - {None}, key=str) for axis in compare.baseline if axis in wrong}
