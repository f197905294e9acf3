"""A trial's id and its numbers, both pinned so that no change goes unnoticed."""

from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from mnist_core import trial as trial_module
from mnist_core.data.datasets import Dataset
from mnist_core.training import TrialResult, train
from mnist_core.trial import NUMERICS_VERSION, Trial, configuration_id, trial_id, unused_settings

FINGERPRINT = "0" * 64
MLP = Trial(model="mlp", subset_size=2_000, adaptive_lr=True, seed=0)
CNN = Trial(model="cnn", subset_size=50_000, adaptive_lr=False, seed=4)
WIDE = replace(MLP, epochs=7, batch_size=32, learning_rate=1e-5, lr_decay=0.5, momentum=0.9, hidden_units=100)
CHANGED: dict[str, Any] = {
    "model": "cnn",
    "subset_size": 2_001,
    "adaptive_lr": False,
    "seed": 1,
    "epochs": 99,
    "batch_size": 255,
    "learning_rate": 0.0011,
    "lr_decay": 0.98,
    "momentum": 0.1,
    "hidden_units": 65,
    "weight_init_std": 0.11,
    "cpus_per_trial": 2,
    "precision": "tf32",
    "numerics": "native",
}

# Losses (train, validation) after each of two epochs, and test, of a small trial of each model on the digits.
SMALL: dict[str, Any] = {"subset_size": 300, "seed": 7, "epochs": 2, "batch_size": 32}
OF_SCHEDULE: dict[str, Any] = {"adaptive_lr": True, "lr_decay": 0.5, "momentum": 0.5}
LOSSES = {
    Trial(model="mlp", learning_rate=0.01, **SMALL, **OF_SCHEDULE): (
        *(1.96975222, 1.94623239),
        *(1.54443744, 1.55005680),
        1.55739923,
    ),
    # At this rate, two epochs do not amplify the last bits of float32.
    Trial(model="cnn", learning_rate=0.003, **SMALL, **OF_SCHEDULE): (
        *(2.28959958, 2.29178078),
        *(2.27905528, 2.28372796),
        2.28291069,
    ),
}
# Other instruction sets and thread counts differ by at most 2e-6; batches of 31 instead of 32 by 7e-5.
OF_OTHER_PROCESSORS = 2e-5
ADVICE = "trials give different numbers than before: increment NUMERICS_VERSION in mnist_core/trial.py, then pin these"


@pytest.mark.parametrize(
    ("trial", "pinned"),
    [
        (MLP, "98ddc6c6655894684685996d2ef3dd19"),
        (CNN, "0058649058f54451ff824cf47dfdf085"),
        (WIDE, "81d608f29a32b7b220c79c017bc650d5"),
    ],
)
def test_ids_are_pinned_to_the_numerics_version(trial: Trial, pinned: str) -> None:
    assert NUMERICS_VERSION == 3, "pin the ids of the new version"
    assert trial_id(trial, FINGERPRINT) == pinned, "all stored trials would become stale"


@pytest.mark.parametrize("trial", LOSSES, ids=lambda trial: trial.model)
def test_numbers_are_pinned_to_the_numerics_version(trial: Trial, digits: Dataset) -> None:
    *_, result = train([trial], digits)
    assert isinstance(result, TrialResult)
    of_epochs = [loss for epoch in result.epochs for loss in (epoch.train_loss, epoch.validation_loss)]
    assert (*of_epochs, result.test_loss) == pytest.approx(LOSSES[trial], rel=OF_OTHER_PROCESSORS), ADVICE


def test_every_setting_is_part_of_the_id() -> None:
    assert CHANGED.keys() == {setting.name for setting in fields(Trial)}
    ids = {trial_id(replace(MLP, **{setting: value}), FINGERPRINT) for setting, value in CHANGED.items()}
    assert len(ids | {trial_id(MLP, FINGERPRINT)}) == len(CHANGED) + 1


def test_a_setting_added_later_changes_no_id_at_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trial_id(MLP, FINGERPRINT), configuration_id(MLP, FINGERPRINT)
    without = {name: value for name, value in vars(MLP).items() if name != "numerics"}
    monkeypatch.setattr(trial_module, "vars", lambda trial: without, raising=False)
    assert (trial_id(MLP, FINGERPRINT), configuration_id(MLP, FINGERPRINT)) == before


def test_dataset_and_numerics_are_part_of_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {trial_id(MLP, FINGERPRINT), trial_id(MLP, "1" * 64)}
    monkeypatch.setattr(trial_module, "NUMERICS_VERSION", NUMERICS_VERSION + 1)
    assert len(before | {trial_id(MLP, FINGERPRINT)}) == 3


@pytest.mark.parametrize("setting", ["hidden_units", "weight_init_std", "lr_decay"])
def test_an_unused_setting_changes_no_id(setting: str) -> None:
    changed = Trial(**{**asdict(CNN), setting: CHANGED[setting]})
    assert changed == CNN
    assert trial_id(changed, FINGERPRINT) == trial_id(CNN, FINGERPRINT)


def test_unused_settings_follow_model_and_schedule() -> None:
    assert unused_settings("mlp", adaptive_lr=True) == ()
    assert unused_settings("mlp", adaptive_lr=False) == ("lr_decay",)
    assert unused_settings("cnn", adaptive_lr=True) == ("hidden_units", "weight_init_std")
    assert unused_settings("cnn", adaptive_lr=False) == ("lr_decay", "hidden_units", "weight_init_std")


def test_an_id_is_32_hexadecimal_digits() -> None:
    assert set(trial_id(MLP, FINGERPRINT)) <= set("0123456789abcdef")
    assert len(trial_id(MLP, FINGERPRINT)) == 32


def test_a_configuration_id_ignores_the_seed_only() -> None:
    ids = {name: configuration_id(replace(MLP, **{name: value}), FINGERPRINT) for name, value in CHANGED.items()}
    own = configuration_id(MLP, FINGERPRINT)
    assert [name for name, found in ids.items() if found == own] == ["seed"]
    assert configuration_id(MLP, "1" * 64) != own
    assert len(own) == 8
