"""The figures of the page: as SVG in the page's own colours, as tables of confusion matrices, and as PNG."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jobs.report.choice import Configuration, Group, Omission, choose
from jobs.report.curves import MEASURES, Curves, TrainingSheet, axis_title, late_axes, shared_axes, training_sheet
from jobs.report.figures import StoredTrials, curves_of, find_first_layer, learning_lines, training_groups
from jobs.report.formats import format_count, format_n
from jobs.report.inline_svg import inline, inline_parts
from jobs.report.learning import by_panel, learning_footnote, learning_panel
from jobs.report.matrices import MAX_UNITS, colour_range, sheet_shape, weight_png
from jobs.report.mistakes import HardImages, Matrix, hardest_images, matrix
from jobs.report.pictures import Pictures
from mnist_core.data import DIGITS

_ENLARGED = "validation accuracy, late epochs enlarged (axes differ)"
_MAX_WEIGHT_BYTES = 400_000  # of PNG files on a page; further ones are files of their own
_MAX_NETWORKS = 5000  # whose predictions are compared image by image
_MAX_MATRICES = 150
_MIN_POINTS, _MAX_POINTS, _ALL_POINTS = 20, 60, 12_000  # of the thin lines: each, and all of a page
Digits = NDArray[np.uint8]


class PageTrials(StoredTrials, Protocol):
    """What the page needs of stored trials beyond what its figures do."""

    def initial_layer(self, trial_id: str) -> NDArray[np.float32]:
        """Return W1 of an MLP as it was before training, (hidden, 784)."""

    def digits(self, trial_id: str) -> tuple[Digits, Digits] | None:
        """Return the actual and the predicted digit of each test image, or None where they are not stored."""

    def pictures(self, images: Sequence[int]) -> Pictures:
        """Return pictures of these test images, or why there are none."""


@dataclass(frozen=True)
class Chart:
    """A drawing with its heading."""

    anchor: str
    heading: str
    svg: Markup
    means: str = ""  # as JSON, for the script
    first: int = 0
    last: int = 0
    left: float = 0  # of the plotting area, in the drawing's pixels
    width: int = 0


@dataclass(frozen=True)
class Training:
    """The training curves, measure by measure."""

    measures: list[tuple[str, list[Chart]]] = field(default_factory=list)
    omissions: Sequence[Omission] = ()
    links: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Learning:
    """The learning curve, one chart per panel."""

    charts: list[Chart]
    footnote: str
    omissions: Sequence[Omission]


@dataclass(frozen=True)
class Matrices:
    """The confusion matrices."""

    matrices: list[Matrix]
    omissions: Sequence[Omission]
    links: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Sheet:
    """W1 of one network, trained, and what training changed."""

    anchor: str
    name: str
    images: list[tuple[str, str, int, int]]  # caption, data URL, width and height


@dataclass(frozen=True)
class Weights:
    """The sheets of W1."""

    sheets: list[Sheet]
    omissions: Sequence[Omission]
    links: list[tuple[str, str, str]]


def embed_training(configurations: Sequence[Configuration], names: Mapping[str, str], stored: StoredTrials) -> Training:
    """Draw every measure of the groups of configurations that differ in their schedule alone."""
    groups = training_groups(configurations)
    choice = choose(groups, lambda group: group[0].title(group[0].images))
    absent = Omission("no trial is stored", [names[_id(one)] for one in configurations if not one.trial_ids])
    curves = [[curves_of(one, stored.metrics(one.trial_ids)) for one in group] for group in choice.drawn]
    if not curves:
        return Training(omissions=_named(absent))
    points = _points_per_seed(curves)
    headings = [group[0].title(group[0].images) for group in choice.drawn]
    measures = []
    for measure in MEASURES:
        sheet = training_sheet(curves, measure, shared_axes(curves, measure), points)
        measures.append((axis_title(measure), _charts(measure, headings, sheet, curves)))
    late = []
    for number, (heading, group) in enumerate(zip(headings, curves, strict=True)):
        if axes := late_axes(group, MEASURES[0]):
            late += _charts("late", [heading], training_sheet([group], MEASURES[0], axes, points), [group], number)
    if late:
        measures.append((_ENLARGED, late))
    links = [
        (_id(one), f"{MEASURES[0]}-{number}", "training curves")
        for number, group in enumerate(choice.drawn)
        for one in group
    ]
    return Training(measures, _named(choice.omission, absent), links)


def _points_per_seed(groups: Sequence[Sequence[Curves]]) -> int:
    """Return how many points a seed's thin line gets: fewer where there are many lines."""
    lines = len(MEASURES) * sum(len(each.values[MEASURES[0]]) for group in groups for each in group)
    return max(_MIN_POINTS, min(_MAX_POINTS, _ALL_POINTS // max(lines, 1)))


def _charts(
    kind: str, headings: Sequence[str], sheet: TrainingSheet, groups: Sequence[Sequence[Curves]], first_number: int = 0
) -> list[Chart]:
    place = re.search(r'transform="translate\(([\d.]+),', sheet.svg)
    left = float(place[1]) if place else 0.0
    labels = [
        f"{kind.replace('_', ' ')}, {heading}: {'; '.join(each.label for each in group)}"
        for heading, group in zip(headings, groups, strict=True)
    ]
    return [
        Chart(
            f"{kind}-{number}",
            heading,
            svg,
            json.dumps(means, separators=(",", ":")),
            sheet.first,
            sheet.last,
            left,
            sheet.width,
        )
        for number, (heading, svg, means) in enumerate(
            zip(headings, inline_parts(sheet.svg, labels), sheet.means, strict=True), start=first_number
        )
    ]


def embed_learning(configurations: Sequence[Configuration], names: Mapping[str, str]) -> Learning:
    """Draw the learning curve, one chart per model; none where there is one size only."""
    choice, lines = learning_lines(configurations)
    if len({size for line in lines for size in line.subset_sizes}) < 2:
        return Learning([], "", ())
    charts = [
        Chart(f"learning-{number}", name, inline(learning_panel(group, lines), f"Learning curve, {name}"))
        for number, (name, group) in enumerate(by_panel(lines).items())
    ]
    absent = Omission("no trial finished", [names[_id(one)] for one in configurations if not one.row["n"]])
    return Learning(charts, learning_footnote(lines), _named(choice.omission, absent))


def embed_matrices(configurations: Sequence[Configuration], names: Mapping[str, str], stored: StoredTrials) -> Matrices:
    """Lay out the confusion matrix of every configuration, the most accurate first."""
    finished = sorted(
        (one for one in configurations if one.finished_ids), key=lambda one: -(one.row["test_accuracy_mean"] or 0)
    )
    found, links = [], []
    for one in finished[:_MAX_MATRICES]:
        rows = stored.confusion(one.finished_ids)
        counts = np.zeros((DIGITS, DIGITS), dtype=np.int64)
        np.add.at(counts, (rows["actual"].to_numpy(), rows["predicted"].to_numpy()), rows["count"].to_numpy())
        n = format_n([len(one.finished_ids)], [one.row["seeds_requested"]], one.row["collapsed"])
        anchor = f"matrix-{_id(one)}"
        caption = f"n = {n}: {format_count(int(counts.sum()), 'prediction')}, {np.trace(counts):,} of them correct"
        found.append(matrix(anchor, names[_id(one)], caption, counts))
        links.append((_id(one), anchor, "confusion matrix"))
    rest = Omission(
        f"only the {_MAX_MATRICES} most accurate are shown", [names[_id(one)] for one in finished[_MAX_MATRICES:]]
    )
    absent = Omission("no trial finished", [names[_id(one)] for one in configurations if not one.finished_ids])
    return Matrices(found, _named(rest, absent), links)


def find_hardest(configurations: Sequence[Configuration], names: Mapping[str, str], stored: PageTrials) -> HardImages:
    """Find the test images that most of the networks that did not collapse get wrong, with their pictures."""
    networks = [
        (_id(one), digits)
        for one in configurations
        for trial_id in one.finished_ids
        if trial_id not in one.collapsed_ids and (digits := stored.digits(trial_id))
    ][:_MAX_NETWORKS]
    found = hardest_images(networks, names)
    if not found:
        return HardImages()
    pictures = stored.pictures([each.image for each in found])
    urls = pictures.urls or [""] * len(found)
    return HardImages([replace(each, picture=url) for each, url in zip(found, urls, strict=True)], pictures.reason)


def embed_weights(configurations: Sequence[Configuration], names: Mapping[str, str], stored: PageTrials) -> Weights:
    """Draw W1 of the first readable seed of each MLP, and what training changed, as PNG with a palette."""
    sheets, links, unreadable, too_many = [], [], [], []
    groups: Sequence[Group] = [[one] for one in configurations if one.row["model"] == "mlp" and one.finished_ids]
    choice = choose(groups, lambda group: names[_id(group[0])])
    size = 0
    for (one,) in choice.drawn:
        if size > _MAX_WEIGHT_BYTES:
            too_many.append(names[_id(one)])
        elif sheet := _sheet(one, names[_id(one)], stored):
            sheets.append(sheet)
            size += sum(len(image[1]) for image in sheet.images)
            links.append((_id(one), sheet.anchor, "W1"))
        else:
            unreadable.append(names[_id(one)])
    omitted = _named(
        choice.omission,
        Omission("the page would be too large (they are files beside it, w1-*.svg)", too_many),
        Omission("the weights are missing or damaged", unreadable),
    )
    return Weights(sheets, omitted, links)


def _sheet(one: Configuration, name: str, stored: PageTrials) -> Sheet | None:
    found = find_first_layer(one, stored.first_layer)
    if found is None:
        return None
    trained = found.weight
    change = (trained - stored.initial_layer(found.trial_id)).astype(np.float32)
    units = format_count(min(len(trained), MAX_UNITS), "hidden unit")
    height, width = sheet_shape(len(trained))
    images = []
    for what, weight in (("trained", trained), ("trained minus initial", change)):
        largest = colour_range(weight)
        url = "data:image/png;base64," + base64.b64encode(weight_png(weight, largest)).decode("ascii")
        images.append((f"{what}, {units}: purple −{largest:.2g}, brown +{largest:.2g}", url, width, height))
    collapsed = ", collapsed" if found.trial_id in one.collapsed_ids else ""
    return Sheet(f"weights-{_id(one)}", f"W1: {name}, seed {found.seed}{collapsed}", images)


def _id(one: Configuration) -> str:
    return str(one.row["configuration_id"])


def _named(*omissions: Omission) -> Sequence[Omission]:
    return [each for each in omissions if each.names]
