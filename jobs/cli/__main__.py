"""Run the command line as `python -m jobs.cli`."""

from jobs.cli import main

main()
