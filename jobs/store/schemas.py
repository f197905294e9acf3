"""The columns of every Parquet file: the contract with analysts (names, order and types are fixed).

Each field carries Arrow metadata: `unit`, which may be empty, and `description`, one sentence.
"""

import pyarrow as pa

from mnist_core.trial import SETTINGS as SETTINGS_OF_TRIALS
from mnist_core.trial import setting_kind

_STRING, _INTEGER, _FLOAT, _BOOLEAN = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TYPES = {str: _STRING, int: _INTEGER, float: _FLOAT, bool: _BOOLEAN}
_SETTING_UNITS = {
    "subset_size": "images",
    "epochs": "epochs",
    "batch_size": "images",
    "hidden_units": "units",
    "cpus_per_trial": "threads",
}


def column(name: str, kind: pa.DataType, description: str, *, unit: str = "", nullable: bool = False) -> pa.Field:
    """Declare a column.

    Args:
        name: the column's name.
        kind: its Arrow type.
        description: one sentence about its meaning.
        unit: of its values; empty where they have none.
        nullable: whether values may be null.
    """
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "description": description})


def _setting_column(name: str) -> pa.Field:
    """Declare the column of a setting: null where the model or the schedule does not use it."""
    setting = SETTINGS_OF_TRIALS[name]
    unit = _SETTING_UNITS.get(name, "")
    kind = _TYPES[setting_kind(name)]
    return column(name, kind, setting.description, unit=unit, nullable=setting.only_where is not None)


_TRIAL_ID = column(
    "trial_id", _STRING, "Hash of everything that determines the trial's numbers: 32 hexadecimal digits."
)

_CONFIGURATION_ID = column(
    "configuration_id", _STRING, "Hash of the dataset and the settings without the seed: 8 hexadecimal digits."
)

# What a trial was asked to do; these columns are flat in `trials` and `requested`, and a struct in the parts.
SETTINGS = [_setting_column(name) for name in SETTINGS_OF_TRIALS]

# One row per trial that a job asks for.
REQUESTED = pa.schema([_TRIAL_ID, _CONFIGURATION_ID, *SETTINGS])

_DATASET = [
    column("dataset", _STRING, "Name or path of the dataset."),
    column("dataset_fingerprint", _STRING, "Hash of the dataset's images and labels."),
]

_RESULTS = [
    column("test_accuracy", _FLOAT, "Share of test images classified correctly; null where diverged.", nullable=True),
    column(
        "test_loss",
        _FLOAT,
        "Mean cross-entropy of the test images; null where diverged.",
        unit="nats per image",
        nullable=True,
    ),
    column("train_accuracy", _FLOAT, "Share of the training subset classified correctly after the last epoch."),
    column(
        "train_loss", _FLOAT, "Mean cross-entropy of the training subset after the last epoch.", unit="nats per image"
    ),
    column("validation_accuracy", _FLOAT, "Share of validation images classified correctly after the last epoch."),
    column(
        "validation_loss",
        _FLOAT,
        "Mean cross-entropy of the validation images after the last epoch.",
        unit="nats per image",
    ),
    column("epochs_run", _INTEGER, "Epochs trained; fewer than asked for where the trial diverged.", unit="epochs"),
    column(
        "collapsed",
        _BOOLEAN,
        "Whether at least 95 % of the predictions for the test images are one digit; null where diverged.",
        nullable=True,
    ),
]

_RUN = [
    column("seconds", _FLOAT, "Time that the trial took.", unit="s"),
    column("device", _STRING, "Kind of device that trained the trial: cpu or cuda."),
    column("kernels", _STRING, "Kernels that computed the trial, which determine the last bits of its numbers."),
    column("host", _STRING, "Name of the machine that trained the trial."),
    column("attempt", _INTEGER, "How often the job had started the trial, this time included."),
    column(
        "finished_at", pa.timestamp("us", tz="UTC"), "Time at which the trial finished, by the clock of its machine."
    ),
    column("mnistjobs_version", _STRING, "Version of mnistjobs that trained the trial."),
    column("python_version", _STRING, "Version of Python that trained the trial."),
    column("numpy_version", _STRING, "Version of NumPy that trained the trial."),
    column("torch_version", _STRING, "Version of PyTorch that trained the trial."),
]

_STATUS = column("status", _STRING, "How the trial ended: finished or diverged.")
_STATUS_OR_FAILED = column("status", _STRING, "How the trial ended: finished, diverged or failed.")

# One row per trial that ended. Accuracies are fractions. A failed trial has its settings, its attempts and nulls.
TRIALS = pa.schema(
    [
        _TRIAL_ID,
        _CONFIGURATION_ID,
        _STATUS_OR_FAILED,
        *SETTINGS,
        *_DATASET,
        *(field.with_nullable(field.name != "attempt") for field in [*_RESULTS, *_RUN]),
    ]
)

EPOCH = [
    column("epoch", _INTEGER, "Number of the epoch, from 1."),
    column("epoch_learning_rate", _FLOAT, "Learning rate used in this epoch."),
    column("train_loss", _FLOAT, "Mean cross-entropy of the training subset after the epoch.", unit="nats per image"),
    column("train_accuracy", _FLOAT, "Share of the training subset classified correctly after the epoch."),
    column(
        "validation_loss", _FLOAT, "Mean cross-entropy of the validation images after the epoch.", unit="nats per image"
    ),
    column("validation_accuracy", _FLOAT, "Share of validation images classified correctly after the epoch."),
    column("epoch_seconds", _FLOAT, "Time that the epoch took.", unit="s"),
]

# One row per trial and epoch.
METRICS = pa.schema([_TRIAL_ID, _CONFIGURATION_ID, *SETTINGS, *EPOCH])

# One row per finished trial, actual and predicted digit.
CONFUSION = pa.schema(
    [
        _TRIAL_ID,
        _CONFIGURATION_ID,
        *SETTINGS,
        column("actual", _INTEGER, "Digit that the image shows, by its label."),
        column("predicted", _INTEGER, "Digit that the trained model assigned."),
        column("count", _INTEGER, "Number of test images with this label and this prediction.", unit="images"),
    ]
)

# One row per finished trial and test image.
PREDICTIONS = pa.schema(
    [
        _TRIAL_ID,
        _CONFIGURATION_ID,
        *SETTINGS,
        column("image", pa.int32(), "Index of the image in the test split, from 0."),
        column("actual", pa.uint8(), "Digit that the image shows, by its label."),
        column("predicted", pa.uint8(), "Digit that the trained model assigned."),
    ]
)

# A part holds the same facts nested, one row per trial: its settings, epochs and confusion matrix in one record.
PART = pa.schema(
    [
        _TRIAL_ID,
        _STATUS,
        column("settings", pa.struct(SETTINGS), "Settings of the trial."),
        *_DATASET,
        *_RESULTS,
        *_RUN,
        column("epochs", pa.list_(pa.struct(EPOCH)), "Records of the epochs, in order."),
        column(
            "confusion",
            pa.list_(_INTEGER),
            "Counts of test images, 100 in all: by label, then by prediction; null where diverged.",
            unit="images",
            nullable=True,
        ),
        column("actual", pa.binary(), "Labels of the test images, a byte each; null where diverged.", nullable=True),
        column(
            "predicted",
            pa.binary(),
            "Digits that the trained model assigned to the test images, a byte each; null where diverged.",
            nullable=True,
        ),
        column(
            "weights_sha256", _STRING, "Hash that names the file of the part's weights, weights/<sha256>.safetensors."
        ),
    ]
)


def _accuracy(name: str, description: str) -> pa.Field:
    """Declare a figure of the summary: a fraction of 1, null where too few trials finished."""
    return column(name, _FLOAT, description, nullable=True)


# One row per configuration. Accuracies are fractions.
SUMMARY = pa.schema(
    [
        _CONFIGURATION_ID,
        *(field for field in SETTINGS if field.name != "seed"),
        column("seeds_requested", _INTEGER, "Seeds that the job asks for.", unit="trials"),
        column("n", _INTEGER, "Finished trials with a test accuracy, collapsed ones included.", unit="trials"),
        column("collapsed", _INTEGER, "Those of the n trials that collapsed: see trials.collapsed.", unit="trials"),
        column("test_images", _INTEGER, "Images of the test set.", unit="images"),
        _accuracy("test_accuracy_mean", "Mean test accuracy of the n trials."),
        _accuracy("test_accuracy_mean_without_collapsed", "Mean test accuracy of the trials that did not collapse."),
        _accuracy("test_accuracy_min", "Least test accuracy."),
        _accuracy("test_accuracy_max", "Greatest test accuracy."),
        _accuracy("test_accuracy_std", "Sample standard deviation of the test accuracies (n - 1); null for n = 1."),
        _accuracy("test_accuracy_low", "Lower end of the 95 % interval of the mean over seeds; null for n below 3."),
        _accuracy("test_accuracy_high", "Upper end of that interval; may exceed 1, as the lower end may be below 0."),
        _accuracy("test_accuracy_low_cut", "test_accuracy_low, cut to what an accuracy can be."),
        _accuracy("test_accuracy_high_cut", "test_accuracy_high, cut to what an accuracy can be."),
        column(
            "interval",
            _STRING,
            "t: t-interval from the spread over seeds; binomial: the spread is zero, and the binomial standard "
            "deviation of one test set replaces it; anytime: the seeds ended by a rule, and the interval holds after "
            "every look; null where there is no interval.",
            nullable=True,
        ),
        _accuracy(
            "new_images_low",
            "Lower end of the 95 % interval of the mean over seeds and new test images; it holds after every look "
            "where `interval` is anytime; null for n below 3.",
        ),
        _accuracy("new_images_high", "Upper end of that interval."),
        _accuracy("seeds_std_error", "Standard error of that mean, as far as more seeds would reduce it."),
        _accuracy("images_std_error", "Standard error of that mean, as far as only more test images would reduce it."),
        _accuracy("train_accuracy_mean", "Mean accuracy on the training subset after the last epoch."),
        _accuracy("validation_accuracy_mean", "Mean accuracy on the validation set after the last epoch."),
        _accuracy("train_validation_gap", "train_accuracy_mean minus validation_accuracy_mean."),
        column("diverged", _INTEGER, "Trials whose loss became infinite or NaN.", unit="trials"),
        column("failed", _INTEGER, "Trials that failed for good.", unit="trials"),
        column("missing", _INTEGER, "Trials that are neither stored nor failed.", unit="trials"),
        column("note", _STRING, "Why n is not seeds_requested, and how many collapsed; empty where neither is so."),
    ]
)
