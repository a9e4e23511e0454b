"""Models on images of any size, tile by tile, with the result of the whole image.

model      `TiledModel`: what a model computes for one tile, from what part of the image, in how much memory

All is internal.
"""

__all__: list[str] = []
