"""The command line: the only modules that print or exit."""

from jobs.cli.start import main as main
