"""Convolution of arrays, NumPy's or torch's, of any rank and any type of numbers; integers are exact.

convolve                 `convolve`, `correlate`: the doors, and derivatives of tensors
request                  a normalised request: shapes, the range that is wanted, the type of the numbers
methods                  the methods in one table, and which of them is expected to take the least time
direct, toeplitz, fft    sums of products; products with a Toeplitz matrix; transforms of everything, or of tiles
exact                    integers by digits that float64 convolves exactly
nonfinite, array_ops     NaN and Inf stay in their windows; what NumPy and torch spell differently

Public are `convolve` and `correlate`, which are torchconv's too.
"""

from .convolve import convolve, correlate

__all__ = ["convolve", "correlate"]
