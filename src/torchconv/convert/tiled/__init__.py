"""Models on images of any size, tile by tile, with the result of the whole image.

model          `TiledModel`: what a model computes for one tile, from what part of the image, in how much memory
inference      `tiled`: what the user calls
work           what is done with one tile, in this process or another
job            passes over the tiles, each of which is written once and noted
fingerprint    what tells the functions before and after the model apart
journal        which tiles are finished, so that a later process goes on after the last
engines        who computes: this process, actors of Ray, ranks of torchrun
image_source   where the image comes from: arrays, files (image_files), strips of rows; array_layout: what its axes are
destinations   where the result goes

All is internal; `tiled` is public in torchconv.
"""

__all__: list[str] = []
