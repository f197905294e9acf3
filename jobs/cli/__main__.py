"""Run the command line as `python -m jobs.cli`."""

from jobs.cli.app import main

main()
