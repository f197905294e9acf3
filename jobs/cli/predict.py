"""The command that lets the networks of a job vote on one's own pictures."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.arguments import STORE, StoreOption
from jobs.cli.output import echo
from jobs.escape import escape

if TYPE_CHECKING:
    from jobs.api import Prediction, Predictions

_SHADES = " ░▒▓█"


def predict(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Pictures of one digit each: PNG, JPEG and the like.")
    ],
    job: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="A job's id, a name for its latest job, or its folder; default: the latest."),
    ] = None,
    store: StoreOption = STORE,
    configuration: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A configuration_id, or its beginning; default: the best by validation."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print what the networks saw.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write what the networks saw, one PNG per picture.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print an object with the votes of every network.")] = False,
) -> None:
    """Let a job's networks vote on which digits your pictures show.

    A picture may have any size, and be dark on light or light on dark. All seeds of the best configuration vote. A
    warning follows where a picture is unlike the images that they were trained on.

    Example: mnistjobs predict three.png --job report --show
    """
    from jobs.api import predict_pictures

    found = predict_pictures(store, pictures, job, configuration)
    if save is not None:
        _save(found, save)
    if json_:
        echo(json.dumps(_plain(found), indent=2))
    else:
        _print(found, show)
    _warn(found)


def _save(found: "Predictions", folder: Path) -> None:
    from jobs.predict import write_image

    for number, each in enumerate(found.predictions, start=1):
        write_image(each.image, folder / f"{number}-{Path(each.picture).stem}.png")


def _print(found: "Predictions", show: bool) -> None:
    """Print a line for each picture, and what the networks saw of it where that is asked for."""
    echo(_voters(found))
    for each in found.predictions:
        echo("\n".join([_line(each), *(_drawing(each) if show else ())]))


def _voters(found: "Predictions") -> str:
    """Name the configuration whose networks vote."""
    from jobs.report import IDENTIFYING, format_count, format_setting

    settings = ", ".join(
        f"{name.replace('_', ' ')} {format_setting(found.configuration[name])}" for name in IDENTIFYING
    )
    networks = format_count(len(found.predictions[0].votes), "network")
    why = "as chosen" if found.is_chosen else "the best by validation accuracy"
    return f"{found.job_id}: {networks} of {found.configuration['configuration_id']} ({settings}), {why}"


def _line(each: "Prediction") -> str:
    counts = Counter(vote.digit for vote in each.votes)
    others = ", ".join(f"{count} for {digit}" for digit, count in counts.most_common() if digit != each.digit)
    agree = f"{each.agree} of {len(each.votes)} networks{f', {others}' if others else ''}"
    return f"{_name(each)}: {each.digit}; {agree}; mean probability {100 * each.probability:.1f} %"


def _drawing(each: "Prediction") -> list[str]:
    """Draw what the networks saw, two characters to a pixel."""
    shades = (each.image.astype(int) * len(_SHADES) // 256).tolist()
    return ["".join(2 * _SHADES[shade] for shade in row).rstrip() for row in shades]


def _warn(found: "Predictions") -> None:
    """Print what speaks against taking the digits for granted."""
    for each in found.predictions:
        if each.likeness and each.likeness.is_unlike:
            usual = f"{each.likeness.distance:.2f} from the nearest of them, where {each.likeness.usual:.2f} is usual"
            echo(f"warning: {_name(each)}: is unlike the training images: {usual}", err=True)
    if found.lost:
        trials = f"{len(found.lost)} networks have" if len(found.lost) > 1 else "1 network has"
        echo(f"warning: {trials} no vote: their weights are missing or damaged", err=True)
    if found.collapsed:
        networks = f"{found.collapsed} of {len(found.predictions[0].votes) + len(found.lost)} networks"
        echo(f"warning: {networks} collapsed: they take nearly every image for the same digit", err=True)
    if any(each.likeness is None for each in found.predictions):
        echo("warning: the dataset is not on this machine: not compared with the training images", err=True)


def _name(each: "Prediction") -> str:
    """Write the path of a picture on one line."""
    return escape(each.picture)


def _plain(found: "Predictions") -> dict[str, Any]:
    return {
        "job_id": found.job_id,
        "configuration": dict(found.configuration),
        "trials_without_vote": list(found.lost),
        "collapsed": found.collapsed,
        "pictures": [_picture(each) for each in found.predictions],
    }


def _picture(each: "Prediction") -> dict[str, Any]:
    likeness = each.likeness
    return {
        "picture": each.picture,
        "digit": each.digit,
        "agree": each.agree,
        "networks": len(each.votes),
        "probability": each.probability,
        "is_unlike": likeness and likeness.is_unlike,
        "distance": likeness and likeness.distance,
        "usual_distance": likeness and likeness.usual,
        "votes": [
            {"trial_id": v.trial_id, "seed": v.seed, "digit": v.digit, "probabilities": list(v.probabilities)}
            for v in each.votes
        ],
        "image": each.image.tolist(),
    }
