// Depthwise convolution: each output channel reads one input channel.
#include "interface.h"

#include "correlate.h"
#include "threads.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

constexpr int64_t kTileBytes = 192 * 1024;  // for the window of a tile: a part of the second-level cache
constexpr int64_t kTileColumns = 1024;

// One correlation for every output plane: the sizes of the planes, of the kernel, and where the window begins.
struct Geometry {
  int64_t height, width;                // of the plane that is read
  int64_t rows, columns;                // outputs
  int64_t kernel_rows, kernel_columns;  // taps
  int64_t row_stride, column_stride, top, left;
};

// How the outputs of a plane are cut into tiles, and what a tile needs.
template <class W>
struct Tiling {
  int64_t tile_rows, tile_columns, row_tiles, column_tiles, window_columns, pitch, window_places, target_places;

  explicit Tiling(const Geometry &g) {
    tile_columns = smaller(g.columns, kTileColumns);
    pitch = blocks(tile_columns, kLanes<W>) * kLanes<W>;
    window_columns = pitch + blocks(g.kernel_columns, g.column_stride) - 1 + kLanes<W>;
    window_columns = blocks(window_columns, kLanes<W>) * kLanes<W>;
    const int64_t row_bytes = window_columns * g.column_stride * int64_t(sizeof(W));
    const int64_t room = (kTileBytes / row_bytes - g.kernel_rows) / g.row_stride + 1;
    tile_rows = smaller(g.rows, larger(room, 8));
    row_tiles = blocks(g.rows, tile_rows);
    tile_rows = blocks(g.rows, row_tiles);
    column_tiles = blocks(g.columns, tile_columns);
    window_places = window_rows(g, tile_rows) * window_columns * g.column_stride;
    target_places = tile_rows * pitch;
  }

  static int64_t window_rows(const Geometry &g, int64_t rows) { return (rows - 1) * g.row_stride + g.kernel_rows; }
};

template <class T>
int output(const Depthwise &d, const T *x, const T *weight, T *y) {
  typedef Wide<T> W;
  const Geometry g{d.height,       d.width,         d.out_height,   d.out_width, d.kernel_height,
                   d.kernel_width, d.stride_height, d.stride_width, d.top,       d.left};
  const Tiling<W> tiling(g);
  const int64_t taps_count = d.kernel_height * d.kernel_width, channels = d.channels * d.multiplier;
  const int64_t tiles = tiling.row_tiles * tiling.column_tiles;
  const size_t places = size_t(tiling.window_places + tiling.target_places + blocks(taps_count, 16) * 16);
  const bool complete = share(d.batch * channels * tiles, d.threads, places * sizeof(W), [&](int64_t unit, void *memory) {
    const int64_t plane = unit / tiles, channel = plane % channels, image = plane / channels, tile = unit % tiles;
    const int64_t row = tile / tiling.column_tiles * tiling.tile_rows;
    const int64_t column = tile % tiling.column_tiles * tiling.tile_columns;
    const int64_t rows = smaller(tiling.tile_rows, g.rows - row);
    const int64_t columns = smaller(tiling.tile_columns, g.columns - column);
    W *base = static_cast<W *>(memory), *sums = base + tiling.window_places, *factors = sums + tiling.target_places;
    for (int64_t tap = 0; tap < taps_count; ++tap) factors[tap] = widen(weight[channel * taps_count + tap]);
    const Window<W> window{base, tiling.window_rows(g, rows), tiling.window_columns, g.column_stride};
    const int64_t first = row * g.row_stride - g.top;
    const T *from = x + (image * d.channels + channel / d.multiplier) * d.height * d.width;
    window.fill(from, d.height, d.width, first, column * g.column_stride - g.left);
    const Taps<W> taps{factors,      g.kernel_rows, g.kernel_columns, g.row_stride, g.column_stride,
                       larger(-first, 0), smaller(window.rows, d.height - first)};
    correlate(window, taps, Target<W>{sums, tiling.pitch, false}, rows, columns);
    for (int64_t r = 0; r < rows; ++r) {
      T *to = y + (plane * g.rows + row + r) * g.columns + column;
      for (int64_t c = 0; c < columns; ++c) narrow(sums[r * tiling.pitch + c], to + c);
    }
  });
  return complete ? kDone : kNoMemory;
}

}  // namespace

int depthwise_output(const Depthwise &d, const void *x, const void *weight, void *y) {
  switch (d.type) {
    case kFloat32:
      return output(d, static_cast<const float *>(x), static_cast<const float *>(weight), static_cast<float *>(y));
    case kFloat64:
      return output(d, static_cast<const double *>(x), static_cast<const double *>(weight), static_cast<double *>(y));
    case kBfloat16:
      return output(d, static_cast<const Bfloat16 *>(x), static_cast<const Bfloat16 *>(weight),
                    static_cast<Bfloat16 *>(y));
  }
  return kUnknownType;
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
