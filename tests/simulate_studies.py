"""Print the tables of docs/statistics.md: coverage, false alarms, and seeds saved, in simulated studies.

Run: python tests/simulate_studies.py [STUDIES]; 2,000 by default for coverage, five times as many for the rest.
"""

import sys

import numpy as np
from support.simulated_stopping import regression_alarms, simulate_choices, simulate_stopped_coverage, stopped_means
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


def stopped_table(studies: int) -> None:
    """Print how often intervals cover their targets in studies that stop when they are decided."""
    write("| accuracy, test images | seeds | this test set, t | this test set | new images, fixed | new images |")
    write("| --- | ---: | ---: | ---: | ---: | ---: |")
    for accuracy, images in ((0.95, 1000), (0.95, 5000), (0.995, 1000), (0.995, 250)):
        found = simulate_stopped_coverage(accuracy, images, 12, studies)
        shares = (
            f"{100 * found.fixed_seeds_always:.1f} %",
            f"{100 * found.seeds_always:.1f} % ({found.seeds_width:.2f})",
            f"{100 * found.fixed_new_images_always:.1f} % ({found.fixed_new_images_width:.2f})",
            f"{100 * found.new_images_always:.1f} % ({found.new_images_width:.2f})",
        )
        write(f"| {100 * accuracy:g} %, {images:,} | {found.n:.1f} | {' | '.join(shares)} |")


def means_table(studies: int) -> None:
    """Print what studies that stop when they are decided report on average."""
    write("| true difference (sd) | seeds | mean difference reported | standard deviation reported (1 is true) |")
    write("| --- | ---: | ---: | ---: |")
    for effect in (0.5, 1.0, 2.0, 3.0):
        seeds, mean, std = stopped_means(effect, studies)
        write(f"| {effect:g} | {seeds:.1f} | {mean:.2f} | {std:.2f} |")


def choice_table(studies: int) -> None:
    """Print how often the ranking is wrong about the best configuration, with a look after every seed."""
    write("| effects (sd) | loses the best one | with t-tests | calls an equal one behind | with t-tests |")
    write("| --- | ---: | ---: | ---: | ---: |")
    for effects in ((0.0,) * 4, (0.0,) * 8, (0.0,) * 20, (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)):
        found = [simulate_choices(effects, studies, 20, is_anytime=is_anytime) for is_anytime in (True, False)]
        shares = [each.loses_best for each in found] + [each.is_wrong for each in found]
        named = f"{len(effects)} equal ones" if not any(effects) else ", ".join(f"{each:g}" for each in effects)
        write(f"| {named} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")


def comparison_table(studies: int) -> None:
    """Print how often an unchanged job is called worse, where both jobs stop when they are decided."""
    write("| effect within each job (sd) | called worse | with t-tests |")
    write("| --- | ---: | ---: |")
    for effect in (0.0, 1.0, 3.0):
        shares = [regression_alarms(effect, studies, 20, is_anytime=is_anytime) for is_anytime in (True, False)]
        write(f"| {effect:g} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    tables = (
        (alarm_table, 5 * count),
        (savings_table, 5 * count),
        (coverage_table, count),
        (stopped_table, count),
        (means_table, 5 * count),
        (choice_table, 2 * count),
        (comparison_table, 2 * count),
    )
    for make_table, studies in tables:
        make_table(studies)
        write("")
