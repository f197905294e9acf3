"""How long trials take: learned from the seconds in the store, estimated from the arithmetic where there are none."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from mnist_core.backends import Device
from mnist_core.cost import guess_seconds
from mnist_core.trial import SETTINGS, Trial

# What decides how long an epoch takes.
_SIZE = tuple(name for name, setting in SETTINGS.items() if setting.same_in_pack and name != "epochs")
_SETTINGS = (*_SIZE, "epochs")
Size: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Timings:
    """The known seconds of an epoch on one dataset and device, by the trial's size."""

    validation_size: int
    device: Device = "cpu"
    timed: Mapping[Size, float] = field(default_factory=dict)  # seconds an epoch; medians of what is stored
    _expected: dict[Size, float] = field(default_factory=dict, init=False, repr=False)
    _guessed: dict[Size, float] = field(default_factory=dict, init=False, repr=False)  # for the timed sizes

    def expected_seconds(self, trial: Trial) -> float:
        """Take the time of trials of this size, else scale that of the nearest size of the model, else guess."""
        size = _size(trial)
        if size not in self._expected:
            self._expected[size] = self._seconds_an_epoch(trial)
        return trial.epochs * self._expected[size]

    def is_grounded(self, trial: Trial) -> bool:
        """Tell whether expected seconds are more than a CPU's guess for another device."""
        return self.device == "cpu" or self.is_timed(trial)

    def is_timed(self, trial: Trial) -> bool:
        """Tell whether expected seconds were learned from stored trials of the model."""
        return any(size[0] == trial.model for size in self.timed)

    def _seconds_an_epoch(self, trial: Trial) -> float:
        size, guess = _size(trial), self._guess(trial)
        if size in self.timed:
            return self.timed[size]
        like = {other: self._guess_size(trial, other) for other in self.timed if other[0] == trial.model}
        if not like:
            return guess
        nearest = min(like, key=lambda other: max(like[other] / guess, guess / like[other]))
        return self.timed[nearest] * guess / like[nearest]

    def _guess(self, trial: Trial) -> float:
        return guess_seconds(trial, self.validation_size) / trial.epochs

    def _guess_size(self, trial: Trial, size: Size) -> float:
        """Guess the seconds of an epoch of a size; the trial lends what does not change them."""
        if size not in self._guessed:
            settings: dict[str, Any] = dict(zip(_SIZE, size, strict=True))
            self._guessed[size] = self._guess(replace(trial, **settings))
        return self._guessed[size]


def learn_timings(rows: pa.Table, fingerprint: str, validation_size: int, device: Device) -> Timings:
    """Take, of stored rows (as `stored` reads them), the median seconds an epoch of the finished of each size."""
    if rows.num_rows == 0:
        return Timings(validation_size, device, {})  # the first filter of a process takes a third of a second
    alike = rows.filter(
        (pc.field("status") == "finished")
        & (pc.field("dataset_fingerprint") == fingerprint)
        & (pc.field("device") == device)
    )
    settings = {name: pc.struct_field(alike["settings"], name) for name in _SETTINGS}
    seconds = pc.divide(alike["seconds"], pc.cast(settings.pop("epochs"), pa.float64()))
    medians = pa.table({**settings, "seconds": seconds}).group_by(_SIZE).aggregate([("seconds", "approximate_median")])
    sizes = zip(*(medians[name].to_pylist() for name in _SIZE), strict=True)
    return Timings(
        validation_size, device, dict(zip(sizes, medians["seconds_approximate_median"].to_pylist(), strict=True))
    )


def _size(trial: Trial) -> Size:
    return tuple(getattr(trial, name) for name in _SIZE)
