"""From YAML text to a grid and its trials, with every fault located."""

from jobs.grid.document import corrected as corrected
from jobs.grid.grid import SCHEMA_FILE as SCHEMA_FILE
from jobs.grid.grid import STARTER_GRID as STARTER_GRID
from jobs.grid.grid import Grid as Grid
from jobs.grid.grid import grid_schema as grid_schema
from jobs.grid.grid import load_grid as load_grid
from jobs.grid.grid import parse_grid as parse_grid
from jobs.grid.grid import read_grid as read_grid
from jobs.grid.points import fraction_of as fraction_of
