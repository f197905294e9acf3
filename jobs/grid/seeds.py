"""How many seeds: a number, or as many as answer the question of a study."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from jobs.grid.points import POINTS, POINTS_PATTERN, fraction_of

DECIDED = "decided"
DEFAULT_AT_LEAST, DEFAULT_AT_MOST = 3, 40
MAX_SEEDS = 1_000_000
SEED_COUNT, SEEDS_UNTIL = "a number of seeds", "a rule for the seeds"  # pydantic's tags for the two forms
UNTIL = f"{DECIDED}, or the half-width of the intervals in {POINTS}"
_PATTERN = rf"^(?:{DECIDED}|{POINTS_PATTERN[1:-1]})$"


def _check_until(text: str) -> str:
    if not re.fullmatch(_PATTERN, text):
        raise ValueError("neither decided nor a half-width")
    return text


class SeedsUntil(BaseModel):
    """Seeds 0, 1, 2 and so on, until the question is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: Annotated[str, AfterValidator(_check_until)] = Field(
        strict=True,
        description="decided: until every comparison is clear or, with a margin, negligible; a configuration whose "
        "comparisons are all decided gets no more seeds. A half-width, such as 0.2pp: until the 95 % interval of each "
        "configuration's mean test accuracy is at most the mean +- 0.2pp.",
        json_schema_extra={"pattern": _PATTERN},
    )
    at_least: int = Field(
        default=DEFAULT_AT_LEAST,
        strict=True,
        ge=DEFAULT_AT_LEAST,
        le=MAX_SEEDS,
        description="Seeds before the first look at the results.",
    )
    at_most: int = Field(
        default=DEFAULT_AT_MOST,
        strict=True,
        ge=DEFAULT_AT_LEAST,
        le=MAX_SEEDS,
        description="Seeds after which the job ends, whatever is still open.",
    )

    @property
    def half_width(self) -> float | None:
        """The half-width of each configuration's interval, a fraction; None: until every comparison is decided."""
        return None if self.until == DECIDED else fraction_of(self.until)


def _tag(value: object) -> str:
    return SEEDS_UNTIL if isinstance(value, dict | SeedsUntil) else SEED_COUNT


_Count = Annotated[int, Field(strict=True, ge=1, le=MAX_SEEDS)]
# The number comes last: where both forms are merged, the hints see its type.
Seeds = Annotated[
    Annotated[SeedsUntil, Tag(SEEDS_UNTIL)] | Annotated[_Count, Tag(SEED_COUNT)],
    Discriminator(_tag),
    Field(
        description="5 is short for seed: [0, 1, 2, 3, 4]; {until: decided}, or {until: 0.2pp}, asks for as many as it "
        "takes."
    ),
]


def seed_values(seeds: int | SeedsUntil) -> range:
    """Return the values of the seeds that a grid asks for at most."""
    return range(seeds.at_most if isinstance(seeds, SeedsUntil) else seeds)


def bounds_message(given: Any) -> str:  # noqa: ANN401 - whatever the file holds
    """Return the fault of two bounds that are valid by themselves; "" where there is none, or one is invalid."""
    if not isinstance(given, dict):
        return ""
    at_least, at_most = given.get("at_least", DEFAULT_AT_LEAST), given.get("at_most", DEFAULT_AT_MOST)
    if type(at_least) is not int or type(at_most) is not int or not DEFAULT_AT_LEAST <= at_most < at_least:
        return ""
    default = "" if "at_most" in given else " where it is not given"
    return f"at_least {at_least}: allowed up to at_most, which is {at_most}{default}"
