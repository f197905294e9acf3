"""Jobs: from a grid to trials, to results in a store, to summary and report. `mnistjobs` is their API."""

import mnist_core as mnist_core  # first of all, because it decides how NumPy is imported
