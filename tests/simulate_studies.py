"""Print the tables of docs/statistics.md: coverage, false alarms, and seeds saved, in simulated studies.

Run: python tests/simulate_studies.py [STUDIES]; 2,000 by default for coverage, five times as many for the rest.
"""

import sys

import numpy as np
from support.simulated_studies import (
    count_differences,
    decided_after,
    family_alarms,
    repeated_t_alarms,
    simulate_coverage,
    simulate_savings,
)

from jobs.report.summary import binomial_std

LOOKS = 60


def write(line: str) -> None:
    """Print a line at once: the tables take minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def coverage_table(studies: int) -> None:
    """Print how often each interval covers its target, and its mean width."""
    write("| accuracy, test images | seeds | seeds, this test set | seeds and new images | paired contrast |")
    write("| --- | ---: | ---: | ---: | ---: |")
    for accuracy, images in ((0.95, 5000), (0.995, 5000), (0.995, 250)):
        for seeds in (3, 5, 10):
            found = simulate_coverage(accuracy, images, seeds, studies)
            cells = [
                f"{100 * getattr(found, name):.1f} % ({getattr(found, f'{name}_width'):.2f})"
                for name in ("seeds", "new_images", "contrast")
            ]
            write(f"| {100 * accuracy:g} %, {images:,} | {seeds} | {' | '.join(cells)} |")


def alarm_table(studies: int) -> None:
    """Print how often looking after every seed finds a difference where there is none."""
    write("| studies without a difference | by 20 seeds | by 60 seeds | by 60 seeds with an ordinary t-test |")
    write("| --- | ---: | ---: | ---: |")
    kinds = {
        "normal differences": (np.random.default_rng(1).normal(size=(studies, LOOKS)), 1.0),
        **{
            f"whole numbers of images: {100 * accuracy:g} % of {images:,}": (
                count_differences(accuracy, images, studies, LOOKS, seed=5),
                2**0.5 * binomial_std(accuracy, images),
            )
            for accuracy, images in ((0.95, 5000), (0.995, 250))
        },
    }
    for name, (values, stand_in_sd) in kinds.items():
        after = decided_after(values, stand_in_sd)
        shares = [float(np.mean(after <= 20)), float(np.mean(after <= LOOKS)), repeated_t_alarms(values)]
        write(f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")
    for effects in ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 2.0)):
        shares = [family_alarms(studies, looks, effects, seed=4) for looks in (20, LOOKS)]
        name = "none differ" if not any(effects) else "one differs by 2 sd"
        write(
            f"| all six pairs of four arms (Holm), {name} | {' | '.join(f'{100 * each:.1f} %' for each in shares)} | |"
        )


def savings_table(studies: int) -> None:
    """Print how many seeds stopping when decided takes."""
    write("| effects (sd) | seeds, stopped | at most | fixed plan | saved | plans that know each effect |")
    write("| --- | ---: | ---: | ---: | ---: | ---: |")
    mixes = ((1.0, 2.0, 3.0, 7.0), (0.5, 1.0, 2.0, 3.0, 7.0), (0.0, 0.5, 1.0, 2.0, 3.0, 7.0), (0.0, 1.0, 2.0, 3.0, 7.0))
    for effects in mixes:
        found = simulate_savings(effects, studies)
        named = ", ".join(f"{effect:g}" for effect in effects)
        cells = (f"{found.mean_seeds:.1f}", f"{found.at_most}", f"{found.fixed}", f"{100 * found.saved:.0f} %")
        write(f"| {named} | {' | '.join(cells)} | {found.informed:.1f} |")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for make_table, studies in ((alarm_table, 5 * count), (savings_table, 5 * count), (coverage_table, count)):
        make_table(studies)
        write("")
