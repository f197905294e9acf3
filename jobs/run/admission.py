"""The questions to the nodes of a cluster before their first trial, and the answers that admit them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import Admission, Device
from jobs.run.node_facts import node_facts
from jobs.run.plan import Plan

_NONCE_PATIENCE_S = 10.0


@contextmanager
def node_admission(plan: Plan, device: Device) -> Iterator[Admission]:
    """Ask nodes, while the context lasts, for the facts on which a trial's numbers and their way into the store depend.

    Args:
        plan: What will be trained, and the store that all nodes have to share.
        device: Where trials are trained; the kernels matter where that is a CPU, and the trials ask for equal bits.

    Raises:
        StoreError: The store cannot be written.
    """
    trials = [plan.trials[trial_id] for trial_id in plan.missing]
    has_torch = device == "cuda" or any(trial.model == "cnn" for trial in trials)
    imports = ("jobs.run", "torch") if has_torch else ("jobs.run",)
    nonce = f"shared (proof {secrets.token_hex(8)})"
    with plan.store.backend.temporary("nonce", nonce.encode()) as where:
        has_kernels = device == "cpu" and any(trial.numerics == "pinned" for trial in trials)
        required = node_facts(where, (), has_kernels, 0.0)
        yield Admission(node_facts, (where, imports, has_kernels, _NONCE_PATIENCE_S), required)
