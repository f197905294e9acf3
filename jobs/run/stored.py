"""What a store holds, as a plan needs it: which trials, how long they took, and which of them are stale."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.escape import escape
from jobs.store import PART, SETTINGS, Store, scan_parts
from mnist_core.data import DatasetInfo
from mnist_core.trial import Trial

_FLAT = ["trial_id", "status", "dataset", "dataset_fingerprint", "device", "seconds", "mnistjobs_version"]
_WROTE = ("dataset", "dataset_fingerprint", "mnistjobs_version")  # what a reason is told by
_SETTINGS = [field.name for field in SETTINGS]
_ROWS = pa.schema([PART.field(name) for name in [*_FLAT, "settings"]])


@dataclass(frozen=True)
class Holdings:
    """The rows of all undamaged parts, in the columns above, and the names of the parts that cannot be used."""

    rows: pa.Table
    unusable: tuple[str, ...]


def read_holdings(store: Store) -> Holdings:
    """Read what every part holds, in the columns that a plan needs; raises StoreError."""
    scanned = list(scan_parts(store, [*_FLAT, "settings"]))
    parts = [rows.select(_ROWS.names) for _, rows in scanned if rows is not None]
    unusable = tuple(sorted(name for name, rows in scanned if rows is None))
    return Holdings(pa.concat_tables([pa.Table.from_batches([], _ROWS), *parts]), unusable)


def stale_trials(missing: Mapping[str, Trial], rows: pa.Table, dataset: DatasetInfo) -> dict[str, str]:
    """Say of those missing trials why, whose settings the store holds under another id.

    What decides an id is the dataset and the numerics, besides the settings. Where several rows have a trial's
    settings, the one is named that is most like it.
    """
    if not missing or not rows.num_rows:
        return {}
    asked = {tuple(vars(trial)[name] for name in _SETTINGS): identity for identity, trial in missing.items()}
    settings = zip(*(pc.struct_field(rows["settings"], name).to_pylist() for name in _SETTINGS), strict=True)
    wrote = zip(*(rows[name].to_pylist() for name in _WROTE), strict=True)
    reasons: dict[tuple[str, ...], tuple[int, str]] = {}  # there are few
    found: dict[str, tuple[int, str]] = {}
    for key, facts in zip(settings, wrote, strict=True):
        identity = asked.get(key)
        if identity is None:
            continue
        if facts not in reasons:
            reasons[facts] = _reason(dataset, *facts)
        found[identity] = min(found.get(identity, reasons[facts]), reasons[facts])
    return {identity: found[identity][1] for identity in missing if identity in found}


def _reason(dataset: DatasetInfo, name: str, fingerprint: str, version: str) -> tuple[int, str]:
    """Say what is other than when a row was written, the likeliest first."""
    if fingerprint == dataset.fingerprint:
        return 0, f"numerics changed since mnistjobs {escape(version)}"
    if name == dataset.name:
        return 1, f"dataset {escape(name)} has changed"
    return 2, f"dataset was {escape(name)}"
