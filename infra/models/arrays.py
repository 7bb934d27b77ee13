"""The arrays that models take and give."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
