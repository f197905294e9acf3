# ruff: noqa: F401
"""What the server of warm processes imports and does once for all the processes that it forks."""

import gc

import pandas  # pyarrow imports it where it is installed
import scipy.special

import jobs.api
import jobs.cli.app
import jobs.cli.progress
import jobs.report.figures
import jobs.report.page
import jobs.run
from jobs.report.figure_style import figure_style, new_figure, to_svg

with figure_style():
    to_svg(new_figure(2.0, 2.0, "Warm", "up"), "Warm")

gc.collect()
gc.freeze()
