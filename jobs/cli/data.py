"""The commands for datasets."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.output import echo
from jobs.errors import InputError

data_app = typer.Typer(help="Fetch and verify datasets.\n\nExample: mnistjobs data verify digits", no_args_is_help=True)
MirrorOption = Annotated[
    list[str] | None, typer.Option(metavar="URL", help="Download from this address instead; repeatable.")
]


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist or digits.")], mirror: MirrorOption = None
) -> None:
    """Download a dataset, unless this machine has it.

    Example: mnistjobs data fetch mnist
    """
    from jobs.cli.tables import fetch_mnist_with_bar
    from mnist_core.data import NAMED_DATASETS

    if name not in NAMED_DATASETS:
        raise InputError(f"dataset {name!r}: cannot be fetched; allowed: {', '.join(NAMED_DATASETS)}")
    if name == "mnist":
        fetch_mnist_with_bar(mirror)
    verify(name)


@data_app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, digits or a folder of IDX files.")],
) -> None:
    """Check every byte of a dataset on this machine.

    Example: mnistjobs data verify mnist
    """
    from mnist_core.data import NAMED_DATASETS, find_mnist, verify_dataset

    info = verify_dataset(name if name in NAMED_DATASETS else Path(name))
    where = f" in {find_mnist()}" if name == "mnist" else ""
    sizes = f"{info.train_size} training, {info.validation_size} validation and {info.test_size} test images"
    echo(f"{name} is complete{where}: {sizes}, fingerprint {info.fingerprint}")
