"""Names of the NumPy array types in function signatures."""

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]
IndexArray = npt.NDArray[np.intp]
Uint16Array = npt.NDArray[np.uint16]
