"""Warn of parts that cannot be used."""

import warnings
from collections.abc import Sequence

from jobs.store import Store, describe_unusable, set_aside


def warn_of_unusable(store: Store, unusable: Sequence[str], may_move: bool = False) -> None:
    """Warn of parts that cannot be used, after moving the damaged ones to the quarantine if that is allowed."""
    for warning in set_aside(store, unusable) if may_move else describe_unusable(store, unusable):
        warnings.warn(warning, stacklevel=3)
