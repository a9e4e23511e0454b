"""The one table of what operations take on one machine, from which plans follow where nothing was measured.

One core of an x86 server with AVX-512 (two of them under a hypervisor), torch 2.13 with oneDNN and MKL: medians of
interleaved runs over the shapes of `benchmarks/grid.py` and `benchmarks/estimates.py`, fitted by hand until estimates
were within a factor of about 1.5. Choices need only the ratios, which differ less from machine to machine than the
rates do; `torchconv tune --machine` measures factors for the machine at hand, and cost_model.py multiplies with them.

Seconds, and numbers or multiply-adds in a second, of one core. "Worth it" says from where on something is faster.
"""

from __future__ import annotations

import torch

from ..tensors import INPUT, OUTPUT, WEIGHT

CORES = 0.9  # n threads are n ** CORES times as fast as one
CALL = 5e-6  # seconds of any call of torch
TOUCH = 1e9  # numbers that are copied into another order in a second
GATHER = 0.45e9  # the same for those that are put side by side, from where the channels were
MARGIN = 1.3  # how many times faster another way must be expected to be than the first: estimates are estimates

# torch's own kernels. They differ a hundredfold from one kind of convolution to another: oneDNN has fast paths for
# some, and plain loops for others.
MANY_CHANNELS = 16  # in a group, from which on oneDNN's kernels for matrix products are used
LARGE_KERNEL = 14  # samples along an axis, from which on other kernels are used
Rates = tuple[float, float, float]
# 1e9 multiply-adds in a second, float32: output, gradient of the input, gradient of the weights; for contiguous
# numbers, then with the channels of a position side by side. "thin" is for four channels in a group.
RATES: dict[str, tuple[Rates, Rates]] = {
    "dense": ((90, 90, 70), (95, 95, 65)),
    "dense large": ((45, 20, 10), (120, 120, 0.35)),
    "depthwise tiny": ((6, 4, 4), (15, 7, 9)),
    "depthwise small": ((15, 11, 0.4), (28, 16, 2.5)),
    "depthwise strided": ((2, 0.8, 2), (7, 2.3, 4)),
    "depthwise": ((28, 17, 1.7), (45, 32, 3)),
    "depthwise large": ((1.9, 40, 1.8), (80, 42, 1.8)),
    "one to many": ((1.6, 1.6, 2.9), (3.7, 6, 16)),
    "thin": ((20, 6, 12), (20, 18, 15)),
    "thin large": ((20, 5, 4.3), (17, 18, 0.3)),
    "single": ((6, 0.4, 5), (6, 0.4, 5)),
    "single large": ((7.5, 2, 1.6), (7.5, 2, 1.6)),
    "dense line": ((35, 35, 30), (35, 35, 30)),
    "dense line large": ((14, 18, 10), (14, 18, 10)),
    "depthwise line": ((2.5, 3, 3), (2.5, 3, 3)),
    "depthwise line large": ((1, 40, 1), (1, 40, 1)),
    "single line": ((3, 0.5, 2), (3, 0.5, 2)),
    "single line large": ((0.4, 1.4, 1), (0.4, 1.4, 1)),
}
BFLOAT16: dict[str, tuple[Rates, Rates]] = {
    "dense": ((200, 200, 120), (210, 210, 120)),
    "dense large": ((195, 190, 45), (260, 260, 0.25)),
    "depthwise tiny": ((7.5, 5, 5), (20, 13, 12)),
    "depthwise small": ((17, 12, 0.3), (34, 20, 1.2)),
    "depthwise strided": ((2.5, 0.2, 2.5), (10, 0.25, 6)),
    "depthwise": ((28, 20, 1.6), (45, 36, 2)),
    "depthwise large": ((3.1, 50, 1.5), (105, 55, 1.8)),
    "one to many": ((3.3, 3.7, 5.5), (7.7, 10, 43)),
    "single": ((4, 0.7, 1.4), (4, 0.7, 1.4)),
    "dense line": ((45, 45, 40), (45, 45, 40)),
    "dense line large": ((110, 100, 22), (110, 100, 22)),
}

# Connection tables: zeros are multiplied faster than many small groups are visited, unless there are very many zeros
# and very few visits; worth it beyond so many groups, or below so many channels for each connection.
DENSE_TABLE_GROUPS, DENSE_TABLE_SPARSE = 2, 8
PHASES_MOST = 9  # kernels of a tiled convolution, beyond which one batched product is faster

# The C++ kernels. LANES: float32 numbers of a vector.
LANES = 16
WAKING = 60e-6  # seconds of one core, below which to wake the other threads takes longer than they save
# Depthwise: multiply-adds in a second while the sums are in registers; seconds for every plane, and every number that
# is copied in or out, float32; by role, because the gradient of the weights reads two planes. TYPE: times as long.
DEPTHWISE_RATE = {OUTPUT: 115e9, INPUT: 115e9, WEIGHT: 80e9}
DEPTHWISE_PLANE = {OUTPUT: 0.12e-6, INPUT: 0.15e-6, WEIGHT: 0.35e-6}
DEPTHWISE_NUMBER, DEPTHWISE_CALL = 0.4e-9, 15e-6
DEPTHWISE_TYPE = {torch.float32: 1.0, torch.float64: 2.0, torch.bfloat16: 1.2}  # bfloat16 is widened first
DEPTHWISE_BYTE, DEPTHWISE_PRODUCT_BYTE = 0.06e-9, 0.005e-9  # seconds, roughly, to decide on threads
PAIR = 0.05e-9  # seconds for a pair and channel, roughly, to decide on threads
# Unshared: multiply-adds, bytes of weights read, and bytes written to memory that is new.
UNSHARED_RATE, UNSHARED_READ, UNSHARED_WRITTEN = 60e9, 25e9, 13e9
# Tiled: multiply-adds in full vectors of channels, and weights that are brought into order.
TILED_RATE, TILED_WEIGHTS, TILED_CALL = 80e9, 1e9, 20e-6
# Pooling: seconds for a number of the input.
POOL_NUMBER = 0.15e-9
# Planes lie side by side from POOL_PLANES on, where they are smaller than so many samples, and their rows too; MEDIUM
# and WIDE the same where computing them one by one is slow or impossible. Rows one by one: from SHORT samples on.
POOL_PLANES, POOL_SMALL, POOL_NARROW, POOL_MEDIUM, POOL_WIDE, POOL_SHORT = 8, 2**13, 100, 2**16, 512, 20
POOL_FEW = {"max": (2**14, 2**17), "mean": (2**14, 2**16)}  # numbers, without and with gradient: torch is faster below

# Transforms in C++: one step of one sample of a vector of tiles, of which a transform of n samples needs n log2(n); a
# vector of tiles, whatever their size; one multiply-add in the products of matrices; a number of the spectra, written
# and read again; a number of the arrays, read or written.
FFT_STEP, FFT_VECTOR, FFT_MULTIPLY, FFT_SPECTRUM, FFT_NUMBER = 0.75e-9, 1.5e-6, 1 / 105e9, 0.32e-9, 0.5e-9
FFT_LONGEST = 2**15  # samples of a tile that stay in a cache
FFT_FEWEST_TAPS = 20  # below it torch's kernels are hardly beaten
FFT_CALL, FFT_TORCH_CALLS = 30e-6, 60e-6  # of the C++ kernels, and of torch
FFT_PER_NUMBER, FFT_PER_PRODUCT = 1.5e-9, 0.05e-9  # roughly, to decide on threads
FFT_WAKES = 6  # times the threads are woken: kernels, forward, products, back
KEEP = 0.05  # part of an operation that the transforms of frozen kernels must take to be worth keeping
# Transforms by torch: one step of one sample; a multiply-add of real numbers in a product of complex matrices; a
# number that is copied into another order; and how often all spectra are copied, as they are turned and multiplied.
TORCH_FFT_STEP, TORCH_FFT_PRODUCT, TORCH_FFT_COPY, TORCH_FFT_COPIES = 1 / 6e9, 1 / 60e9, 1 / 2e9, 3
# Winograd: the transform of one vector of tiles; how many times as long as the others the gradient of weights takes.
WINOGRAD_VECTOR, WINOGRAD_REORDER, WINOGRAD_CALL, WINOGRAD_FEWEST_CHANNELS = 0.2e-6, 1.2, 30e-6, 32

# Pairs of convolutions on one axis: taps on both axes, below which "auto" does not look at the numbers; pairs that it
# weighs; seconds of one singular value decomposition, and of each number of it times its width.
SEPARABLE_SHORTEST, SEPARABLE_MOST, SEPARABLE_DECOMPOSITION, SEPARABLE_STEP = 9, 8, 100e-6, 3e-9

# Arrays (torchconv.signal), in nanoseconds. Sums by NumPy: a call; a tap of its loops for few taps; an output of its
# scalar products, and a tap of them; packing into one axis; a shift of a whole array, and a number of it. By the C++
# kernels: a call, an output, a product.
SUMS_CALL, SUMS_TAP, SUMS_OUTPUT, SUMS_LATER_TAP = 1_500, 0.16, 6.0, 0.08
SUMS_PACKING, SUMS_SHIFT, SUMS_PASS = 10_000, 2_500, 1.0
SUMS_COMPILED_CALL, SUMS_COMPILED_OUTPUT, SUMS_COMPILED_PRODUCT = 20_000, 0.5, 0.06
# Transforms by SciPy: one step of one sample; a sample; a number that is moved; a call.
ARRAY_FFT_STEP, ARRAY_FFT_SAMPLE, ARRAY_FFT_MOVE, ARRAY_FFT_CALL = 0.3, 1.5, 5.0, 22_000
ARRAY_FFT_CACHE, ARRAY_FFT_BEYOND = 2**15, 0.9  # samples that stay close to the core, and what each doubling adds
ARRAY_FFT_SINGLE = {1: 0.85, 2: 0.55}  # of the time of double, by the number of axes
ARRAY_FFT_COMPILED_CALL, ARRAY_FFT_COMPILED = 10_000, 0.4  # of tiles in C++, and how much of the rest they take
ARRAY_FFT_LARGE = 2**19  # samples of several axes from which the threads that torch may use are worth waking
# Toeplitz matrices: a call, a number that is lined up, a product; and products up to which BLAS libraries use one core.
TOEPLITZ_CALL, TOEPLITZ_NUMBER, TOEPLITZ_PRODUCT, TOEPLITZ_UNTHREADED = 18_000, 0.6, 0.042, 2**18
