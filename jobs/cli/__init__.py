"""The command line: the only modules that print or exit."""

from jobs.cli.app import main as main
