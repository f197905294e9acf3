"""What was asked for: from a grid to trials, to results in a store, to summary and report. `mnistjobs` is its API."""
