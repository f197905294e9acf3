"""Where work runs: in this process, on a Ray started here, or on an existing Ray cluster."""
