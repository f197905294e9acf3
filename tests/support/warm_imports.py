# ruff: noqa: F401
"""What the server of warm processes imports and does once for all the processes that it forks."""

import gc

import pandas  # pyarrow imports it where it is installed
import scipy.special

import jobs.api
import jobs.cli.app
import jobs.cli.progress
import jobs.report.figures  # draws nothing here: the threads of the library do not survive a fork
import jobs.report.page
import jobs.run

gc.collect()
gc.freeze()
