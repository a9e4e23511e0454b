"""The C++ kernels (csrc/) behind a plain C interface, loaded with ctypes; everything works without them, slower.

loader.py finds the shared library, chooses the instructions of the processor, asks it for its constants, and makes
kernels torch operations. direct.py: convolutions by direct sums (depthwise, unshared, tiled). transforms.py: those by
transforms of tiles, and by Winograd's. pooling.py: windows over planes. Structs of arguments are mirrors of those in
csrc/interface.h, whose sizes a test compares.

Nothing here is public; TORCHCONV_INSTRUCTIONS=none leaves the kernels off.
"""

__all__: list[str] = []
