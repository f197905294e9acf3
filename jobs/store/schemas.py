"""The columns of every Parquet file: the contract with analysts (names, order and types are fixed)."""

import pyarrow as pa

from mnist_core.trial import SETTINGS as SETTINGS_OF_TRIALS
from mnist_core.trial import setting_kind

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _setting_field(name: str) -> pa.Field:
    """Declare the column of a setting: null where the model or the schedule does not use it."""
    return pa.field(name, _TYPES[setting_kind(name)], nullable=SETTINGS_OF_TRIALS[name].only_where is not None)


# What a trial was asked to do; these columns are flat in `trials` and a struct in the parts.
SETTINGS = [_setting_field(name) for name in SETTINGS_OF_TRIALS]

# One row per trial. Accuracies are fractions; losses are means per image; test columns are null where diverged.
TRIALS = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # finished | diverged
        *SETTINGS,
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("dataset_fingerprint", pa.string(), nullable=False),
        pa.field("test_accuracy", pa.float64()),
        pa.field("test_loss", pa.float64()),
        pa.field("train_accuracy", pa.float64(), nullable=False),
        pa.field("train_loss", pa.float64(), nullable=False),
        pa.field("validation_accuracy", pa.float64(), nullable=False),
        pa.field("validation_loss", pa.float64(), nullable=False),
        pa.field("epochs_run", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("attempt", pa.int64(), nullable=False),
        pa.field("finished_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("mnistjobs_version", pa.string(), nullable=False),
        pa.field("python_version", pa.string(), nullable=False),
        pa.field("numpy_version", pa.string(), nullable=False),
        pa.field("torch_version", pa.string(), nullable=False),
    ]
)

EPOCH = [
    pa.field("epoch", pa.int64(), nullable=False),  # from 1
    pa.field("learning_rate", pa.float64(), nullable=False),  # the one used in this epoch
    pa.field("train_loss", pa.float64(), nullable=False),
    pa.field("train_accuracy", pa.float64(), nullable=False),
    pa.field("validation_loss", pa.float64(), nullable=False),
    pa.field("validation_accuracy", pa.float64(), nullable=False),
    pa.field("seconds", pa.float64(), nullable=False),
]

# One row per trial and epoch.
METRICS = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("subset_size", pa.int64(), nullable=False),
        pa.field("adaptive_lr", pa.bool_(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        *EPOCH,
    ]
)

# One row per trial, actual and predicted digit.
CONFUSION = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("actual", pa.int64(), nullable=False),
        pa.field("predicted", pa.int64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)

# A part holds the same facts nested, one row per trial: its settings, epochs and confusion matrix in one record.
_NOT_SETTINGS = [field for field in TRIALS if field not in SETTINGS]
PART = pa.schema(
    [
        *_NOT_SETTINGS[:2],
        pa.field("settings", pa.struct(SETTINGS), nullable=False),
        *_NOT_SETTINGS[2:],
        pa.field("epochs", pa.list_(pa.struct(EPOCH)), nullable=False),
        pa.field("confusion", pa.list_(pa.int64())),  # 100 counts, row by row; null where diverged
        pa.field("weights_sha256", pa.string(), nullable=False),  # of weights/<trial_id>.safetensors
    ]
)
