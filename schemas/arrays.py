"""Names of the NumPy array types in function signatures."""

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]
IndexArray = npt.NDArray[np.intp]
