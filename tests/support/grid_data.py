"""Any data that a grid file may hold, made of words that grids know and of others."""

from hypothesis import strategies as st

NAMES = "name dataset path grid train exclude include overrides when set resources cpus_per_trial device gpus_per_task"
SETTINGS = "model subset_size adaptive_lr seed seeds epochs learning_rate hidden_units lr_decay lr"
KEYS = st.sampled_from(f"{NAMES} {SETTINGS}".split())
VALUES = st.sampled_from([None, True, 0, 1, 2, 0.5, 1e9, "mlp", "cnn", "mnist", "digits", "on", "", "\x7f", "a..b"])
DATA = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
