"""A classifier over every window of larger images at once: fully connected layers as convolutions.

convert    `as_convolution`: follows the forward of a model, layer by layer and call by call
layers     how a layer slides: what takes its place, and what one window of the image is behind it
rules      which layers, functions and methods slide: two tables

All is internal; `as_convolution` is public in torchconv.convert.
"""

__all__: list[str] = []
