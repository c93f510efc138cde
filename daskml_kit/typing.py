"""Aliases shared by every room. Nothing here imports from the package."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
CSR: TypeAlias = "sparse.csr_array[Any] | sparse.csr_matrix[Any]"
Matrix: TypeAlias = "FloatArray | CSR"
ArrayLike: TypeAlias = Any
"""Whatever ``fit`` takes: NumPy, pandas, scipy.sparse, dask or xarray."""

TargetKind: TypeAlias = Literal["none", "classes", "values"]

__all__ = ["CSR", "Array", "ArrayLike", "FloatArray", "IntArray", "Matrix", "TargetKind"]
