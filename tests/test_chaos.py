"""The short form of tests/chaos.py: a study that is killed at a few random moments ends as if nothing had happened."""

import pytest
from chaos import run_chaos


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_killed_at_random_moments_ends_with_the_tables_of_one_that_was_not() -> None:
    said: list[str] = []
    chaos = run_chaos(3, 0, said.append, seeds=1, kills_per_round=3, ray_patience_s=5)
    assert not chaos.wrong, "\n".join(said)
