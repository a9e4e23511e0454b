"""Looking at models: the motions of images that `tc.equivariance` measures with."""

from .motions import Rotation, Scale, Translation

__all__ = ["Rotation", "Scale", "Translation"]
