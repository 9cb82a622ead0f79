"""Folder of the real images and time courses, which are not part of this repository.

The environment variable ``SPHERORANK_REAL_DATA`` names it, absolute or relative to the repository.
Each data set is a subfolder; ``docs/reference/data.md`` describes them.
"""

import os
from pathlib import Path

REAL_DATA = (
    Path(__file__).parents[1] / os.environ.get("SPHERORANK_REAL_DATA", "../shared/data")
).resolve()
