"""How the seeds of a job end: the rule of its submission, and the decision by that rule."""

from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SeedRule(_Model):
    """Train seeds 0, 1, 2 and so on until the question of the study is answered."""

    half_width: PositiveFloat | None = None  # of each configuration's interval; None: until each contrast is decided
    at_least: int = Field(ge=1)  # seeds before the first look
    at_most: int = Field(ge=1)


class Decision(_Model):
    """How many seeds of each configuration are results of a job, and which questions are still open.

    A question is a contrast; under a rule with a half-width, the interval of a configuration.
    """

    seeds: Mapping[str, NonNegativeInt]  # by configuration_id: its first seeds, so many, are its results
    open: tuple[str, ...]  # the configurations, by their ids, that take part in a question that is not answered
    whole: NonNegativeInt  # seeds that had ended in every configuration that was open at that point
    answered: NonNegativeInt  # questions
    questions: NonNegativeInt

    def needs(self, configuration_id: str, seed: int) -> bool:
        """Tell whether a trial may still contribute to the answer, or has."""
        return configuration_id in self.open or seed < self.seeds[configuration_id]

    def counts(self, configuration_id: str, seed: int) -> bool:
        """Tell whether a trial belongs to the results."""
        return seed < self.seeds[configuration_id]


def describe_decision(decision: Decision, rule: SeedRule) -> str:
    """Say after how many seeds the questions of a study were answered, and how many are open.

    Args:
        decision: What was decided.
        rule: How the seeds end.
    """
    noun, answered = ("contrast", "decided") if rule.half_width is None else ("interval", "narrow enough")
    count = decision.questions
    if not decision.open:
        every = f"the {noun} is" if count == 1 else f"both {noun}s are" if count == 2 else f"all {count} {noun}s are"
        return f"{every} {answered} after {_format_seeds(decision.seeds.values())}"
    if not decision.whole:
        return "no seed has ended in every configuration"
    left = count - decision.answered
    some = f"the {noun} is" if count == 1 else f"{left} of {count} {noun}s {'is' if left == 1 else 'are'}"
    most = ", as many as the grid allows" if decision.whole >= rule.at_most else ""
    return f"{some} not {answered} after {_format_seeds([decision.whole])}{most}"


def _format_seeds(counts: Collection[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low} to {high} seeds" if low < high else "1 seed" if low == 1 else f"{low} seeds"
