// The constants by which the kernels cut up their work, mostly parts of a processor's caches. Python asks for them by name
// (numbers.cpp) where it has to know what the kernels will take: they are written nowhere else.
#pragma once

#include "simd.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int64_t kStripBytes = 512 * 1024;         // unshared: a strip and its outputs, a part of the second-level cache
constexpr int64_t kUnitBytes = 512 * 1024;          // tiled: what a unit of work reads and writes, as much
constexpr int64_t kTileBytes = 192 * 1024;          // depthwise: the window of a tile, as much
constexpr int64_t kSlabBytes = 192 * 1024;          // unshared: weights that are read again for the next images
constexpr int64_t kPastCaches = 16 * 1024 * 1024;   // bytes of weights of which nothing would be left in a cache
constexpr int64_t kCached = 4 * 1024 * 1024;        // transforms: spectra that stay in a cache until they are used
constexpr int64_t kShortestRun = 4;                 // unshared: outputs at a time, at least
constexpr int kBlock = kRegisters == 32 ? 8 : 4;    // unshared: images whose windows meet the weights together
constexpr int64_t kUnits = 64;                      // depthwise: to share, whatever the threads: the same bits for all
constexpr int kLines = 4;                           // transforms: rows, or columns, that are transformed side by side
constexpr int64_t kShares = 4;                      // transforms: of the sums of tiles, for each thread

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
