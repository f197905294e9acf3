"""Failed trials are listed by what went wrong, with their configurations and seeds, wherever they are listed."""

from support.job_records import failure_of
from support.study_tables import requested_of, settings

from jobs.cli.failures import failure_lines, failure_summary
from jobs.report.failures import FailureGroup, group_failures

ALL = [(size, adaptive, seed) for size in (20, 50) for adaptive in (False, True) for seed in (0, 1)]
REQUESTED = requested_of(*(settings(seed, subset_size=size, adaptive_lr=adaptive) for size, adaptive, seed in ALL))


def test_equal_messages_are_one_group_named_by_configuration_and_seed() -> None:
    failures = [failure_of("0", "no"), failure_of("1", "no"), failure_of("6", "no"), failure_of("3", "disk")]
    groups = group_failures(failures, REQUESTED)
    assert groups == (
        FailureGroup("no", ("mlp 20 fixed seeds 0, 1", "mlp 50 adaptive seed 0"), ("0", "1", "6")),
        FailureGroup("disk", ("mlp 20 adaptive seed 1",), ("3",)),
    )
    assert failure_summary(groups, 8) == [
        "4 of 8 trials failed; the report has the tracebacks; submit the same grid again to retry",
        "failed: 3 trials: mlp 20 fixed seeds 0, 1; mlp 50 adaptive seed 0: no",
        "failed: mlp 20 adaptive seed 1: disk",
    ]
    assert failure_summary((), 8) == []


def test_tracebacks_can_keep_equal_messages_apart() -> None:
    failures = [failure_of("0", "no", "here"), failure_of("1", "no", "there"), failure_of("2", "no", "here")]
    groups = group_failures(failures, REQUESTED, by_traceback=True)
    assert [(group.traceback, group.trial_ids) for group in groups] == [("here", ("0", "2")), ("there", ("1",))]


def test_a_long_list_of_failures_ends_with_the_number_of_the_others() -> None:
    groups = group_failures([failure_of(str(index), f"reason {index}") for index in range(8)], REQUESTED)
    assert failure_lines(groups)[-1] == "failed: mlp 50 adaptive seed 1: reason 7"
    assert failure_lines((*groups, groups[0]))[-1] == "and 1 more reason"
    sizes = requested_of(*(settings(0, subset_size=size) for size in range(1, 7)))
    (group,) = group_failures([failure_of(str(index), "no") for index in range(6)], sizes)
    assert failure_lines([group])[0].endswith("; mlp 4 fixed seed 0; 2 more configurations: no")
