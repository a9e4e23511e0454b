"""What a convolution is, as an immutable value, and what follows from it without numbers. No torch.

convolution, pooling  the two descriptions, made of an `Axis` for each axis, `Connections` of channels, and `Sharing`
shapes                sizes, positions, axes of adjoint and transposed convolutions: the only file that rounds
interval              which samples windows read, and how well windows fit an input
matrix                the sparse matrix of the map
resampling            axes made longer or shorter: interpolation and adaptive pooling
notation              how settings are written: 3->10, 5x5, stride=2

Public are the descriptions and their parts; functions of sizes are internal, what they say are methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .axis import Axis
    from .connections import Connections
    from .convolution import Convolution
    from .interval import Fit, Interval
    from .pooling import Pooling
    from .sharing import Sharing

__all__ = ["Axis", "Connections", "Convolution", "Fit", "Interval", "Pooling", "Sharing"]
_PLACES = {**{name: name.lower() for name in __all__}, "Fit": "interval"}

__getattr__, __dir__ = lazy(__name__, _PLACES)
