"""How many more seeds a width takes: worked out by hand, and held against the interval that results."""

import json
import math
from pathlib import Path

import pytest
from support import command_line
from support.study_tables import study, summary_of, together

import mnistjobs
from jobs.errors import InputError
from jobs.report.formats import summary_cells, summary_notes
from jobs.report.precision import NEEDED, add_seeds_needed, anytime_half_width, half_width, more_seeds, seeds_for
from jobs.report.summary import summarize
from jobs.store import SeedRule


def test_half_the_width_is_that_of_a_t_interval() -> None:
    assert half_width(4, 0.02) == pytest.approx(3.182446305284263 * 0.02 / 2, abs=1e-12)


@pytest.mark.parametrize("std", [1e-6, 0.0005, 0.0024, 0.02, 0.4])
def test_the_fewest_seeds_that_give_the_width_are_found(std: float) -> None:
    n = seeds_for(std, 0.002)
    assert half_width(n, std) <= 0.002
    assert n == 3 or half_width(n - 1, std) > 0.002


def test_the_standard_deviation_of_five_seeds_is_known_within_a_factor() -> None:
    std, target = 0.02, 0.001  # so small a target that n is close to (1.96 std / target)^2
    found = more_seeds(5, std, target)
    known_within = [math.sqrt((count + 5) / seeds_for(std, target)) for count in (found.low, found.high)]
    assert known_within == pytest.approx([0.599, 2.874], abs=0.005)


def test_a_width_that_is_reached_takes_no_more_seeds() -> None:
    assert more_seeds(5, 0.001, 0.002) == (0, 0, 0)
    assert min(more_seeds(5, 0.00162, 0.002)) == 1  # the interval is 0.002011 wide to either side


def test_a_summary_says_how_many_more_seeds_a_width_takes() -> None:
    every = together(
        study(0.900, 0.901, 0.902),
        study(0.90, 0.92, 0.94, name="b", epochs=4),
        study(0.9, name="c", epochs=5),
        study(0.1, 0.9, 0.9, name="d", epochs=6),
        study(0.5, 0.5, 0.5, name="e", epochs=7),
    )
    summary = add_seeds_needed(summary_of(*every), 0.005)
    assert [summary.schema.field(field.name) for field in NEEDED] == list(NEEDED)
    header, rows = summary_cells(summary)
    # The range of the second: its standard deviation of 2 pp is known within 1.04 and 12.57 pp.
    assert [row[header.index("more seeds")] for row in rows] == ["0", "61 (17–2,500)", "–", "–", "38"]
    assert summary_notes(summary)[-2] == (
        "Interval of ±0.50 pp: reached by 1 of 5 configurations; 2 need 38 to 61 more seeds if the spread stays as it "
        "is, and at most 2,500 otherwise; 1 cannot get it by seeds while networks collapse; 1 cannot be judged before "
        "two seeds have finished."
    )


def test_where_results_end_the_seeds_a_width_takes_more_of_them() -> None:
    trials, requested = study(0.90, 0.92, 0.94, 0.92)  # the standard deviation is 1.63 points
    summary = summarize(trials, requested, test_images=1000, until=SeedRule(at_least=3, at_most=9))
    (row,) = add_seeds_needed(summary, 0.02, is_anytime=True).to_pylist()
    std = row["test_accuracy_std"]
    assert row["more_seeds"] > more_seeds(4, std, 0.02).likely
    assert anytime_half_width(4 + row["more_seeds"], std) <= 0.02 < anytime_half_width(3 + row["more_seeds"], std)
    assert (
        "(95 %, roughly, as the results decided how many there are)"
        in summary_notes(add_seeds_needed(summary, 0.02, is_anytime=True))[-1]
    )
    (row,) = add_seeds_needed(summary, 0.06, is_anytime=True).to_pylist()
    assert (row["more_seeds"], row["more_seeds_low"], row["more_seeds_high"]) == (0, 0, 0)
    three = study(0.90, 0.92, 0.94)
    no_bound = summarize(*three, test_images=1000, until=SeedRule(at_least=3, at_most=9))
    assert summary_notes(no_bound)[-1].startswith("No interval yet: one that holds however often one looks takes four")


def test_the_command_counts_the_seeds_missing_for_a_width(tmp_path: Path) -> None:
    store = tmp_path / "results"
    mnistjobs.submit_grid(command_line.write_grid(tmp_path), store, in_process=True)
    words = ("summary", "tiny", "--target", "1pp", "--store", store)
    (of_json,) = json.loads(command_line.said(*words, "--format", "json"))
    assert of_json["target"] == 0.01
    assert 0 < of_json["more_seeds_low"] <= of_json["more_seeds"] <= of_json["more_seeds_high"]
    assert "Interval of ±1.00 pp: reached by 0 of 1 configuration; 1 " in command_line.said(*words)
    with pytest.raises(InputError, match=r"target: 2\.0 is no width of an interval"):
        mnistjobs.read_summary(store, "tiny", target=2.0)
