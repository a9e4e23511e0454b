"""What transforms of tiles share: a correlation with steps of 1, cut up into tiles that overlap.

tiles.py plans the lengths of the tiles, for all that transform, torchconv.signal among them, and knows what the C++
kernels take. algorithm.py is the algorithm "fft" and brings strides and dilations to steps of 1. correlation.py does
the same work by torch's transforms where the kernels do not serve: in double precision, on three axes, without numbers
to look at. winograd.py is the algorithm "winograd": the same scheme with other, smaller transforms.

Nothing here is public.
"""

__all__: list[str] = []
