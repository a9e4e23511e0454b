// Depthwise convolution, its three operations: each output channel reads one input channel.
#include "correlate.h"
#include "interface.h"
#include "tap_sums.h"
#include "threads.h"
#include "tiling.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

constexpr int64_t kSumsOfOneLane = 8192;  // products added up in float before a sum goes into a double
constexpr int64_t kRunBytes = 8192;       // of planes side by side: what a processor fetches ahead
constexpr int64_t kSumsBytes = 64 * 1024;

Geometry geometry(const Depthwise &d) {
  return {d.height,       d.width,         d.out_height,   d.out_width, d.kernel_height,
          d.kernel_width, d.stride_height, d.stride_width, d.top,       d.left};
}

int64_t padded(int64_t places) { return blocks(places, 16) * 16; }

// Where the outputs of one tile go; those that are not side by side, or narrower, wait in `sums`.
template <class T>
struct Outlet {
  typedef Wide<T> W;
  T *first;
  int64_t pitch, step;
  W *sums;
  int64_t sums_pitch;

  Target<W> target(const Tile &tile, bool add) const {
    if constexpr (sizeof(T) == sizeof(W)) {
      if (step == 1) return {first, pitch, tile.columns, add};
    }
    return {sums, sums_pitch, tile.columns, add};
  }

  void finish(const Tile &tile) const {
    if (sizeof(T) == sizeof(W) && step == 1) return;
    for (int64_t row = 0; row < tile.rows; ++row) {
      const W *from = sums + row * sums_pitch;
      T *to = first + row * pitch;
      int64_t column = 0;
      for (; step == 1 && column + kLanes<W> <= tile.columns; column += kLanes<W>)
        store_narrow(to + column, load(from + column));
      for (; column < tile.columns; ++column) narrow(from[column], to + column * step);
    }
  }
};

template <class T>
int output(const Depthwise &d, const T *x, const T *weight, T *y) {
  typedef Wide<T> W;
  const Geometry g = geometry(d);
  const Tiling<W> tiling(g);
  const int64_t count = d.kernel_height * d.kernel_width, channels = d.channels * d.multiplier, tiles = tiling.tiles();
  const int64_t target = padded(tiling.tile_rows * tiling.pitch), places = tiling.window_places + target + padded(count);
  const bool done = share(d.batch * channels * tiles, d.threads, size_t(places) * sizeof(W), [&](int64_t unit, void *memory) {
    const int64_t plane = unit / tiles, channel = plane % channels, image = plane / channels;
    const Tile tile(g, tiling, unit % tiles);
    W *sums = static_cast<W *>(memory), *factors = sums + target, *samples = factors + padded(count);
    for (int64_t tap = 0; tap < count; ++tap) factors[tap] = widen(weight[channel * count + tap]);
    const T *from = x + (image * d.channels + channel / d.multiplier) * d.height * d.width;
    T *to = y + (plane * g.rows + tile.row) * g.columns + tile.column;
    const Outlet<T> outlet{to, g.columns, 1, sums, tiling.pitch};
    const Taps<W> taps{factors,      g.kernel_rows,   g.kernel_columns, g.row_stride,
                       g.column_stride, tile.first_real, tile.end_real};
    correlate(tile.window(g, tiling, from, samples), taps, outlet.target(tile, false), tile.rows);
    outlet.finish(tile);
  });
  return done ? kDone : kNoMemory;
}

// The samples of x along one axis that are `phase` places after a multiple of the stride, counted with the padding:
// sample first + n * stride is the sum over t of grad[n + start + t] * taps[stride * (count - 1 - t) + phase].
struct Phase {
  int64_t first, samples, start, count;

  Phase(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t phase) {
    const int64_t begin = rounded_up(padding - phase, stride);
    count = kernel > phase ? blocks(kernel - phase, stride) : 0;
    first = begin * stride + phase - padding;
    samples = rounded_up(size + padding - phase, stride) - begin;
    start = begin - (count - 1);
  }
};

// The taps of a phase on each axis, in reverse order.
template <class T>
void reversed(const Depthwise &d, const Phase &down, const Phase &right, int64_t a, int64_t b, const T *from,
              Wide<T> *to) {
  for (int64_t i = down.count - 1; i >= 0; --i)
    for (int64_t j = right.count - 1; j >= 0; --j)
      *to++ = widen(from[(d.stride_height * i + a) * d.kernel_width + d.stride_width * j + b]);
}

template <class T>
int input_grad(const Depthwise &d, const T *grad, const T *weight, T *x) {
  typedef Wide<T> W;
  const int64_t high = blocks(d.height, d.stride_height), wide = blocks(d.width, d.stride_width);
  const Geometry largest{d.out_height, d.out_width, high, wide, blocks(d.kernel_height, d.stride_height),
                         blocks(d.kernel_width, d.stride_width), 1, 1, 0, 0};
  const Tiling<W> tiling(largest);
  const int64_t count = d.kernel_height * d.kernel_width, tiles = tiling.tiles();
  const int64_t target = padded(tiling.tile_rows * tiling.pitch), places = tiling.window_places + target + padded(count);
  const int64_t units = d.batch * d.channels * tiles, phases = d.stride_height * d.stride_width;
  const bool done = share(units, d.threads, size_t(places) * sizeof(W), [&](int64_t unit, void *memory) {
    W *sums = static_cast<W *>(memory), *factors = sums + target, *samples = factors + padded(count);
    for (int64_t phase = 0; phase < phases; ++phase) {
      const int64_t a = phase / d.stride_width, b = phase % d.stride_width;
      const Phase down(d.height, d.kernel_height, d.stride_height, d.top, a);
      const Phase right(d.width, d.kernel_width, d.stride_width, d.left, b);
      const Geometry g{d.out_height, d.out_width, down.samples, right.samples, down.count,
                       right.count,  1,           1,            -down.start,   -right.start};
      const Tile tile(g, tiling, unit % tiles);
      if (tile.is_empty()) continue;
      T *to = x + unit / tiles * d.height * d.width + (down.first + tile.row * d.stride_height) * d.width +
              right.first + tile.column * d.stride_width;
      const Outlet<T> outlet{to, d.stride_height * d.width, d.stride_width, sums, tiling.pitch};
      for (int64_t copy = 0; copy < d.multiplier; ++copy) {
        const int64_t channel = unit / tiles % d.channels * d.multiplier + copy;
        const int64_t image = unit / tiles / d.channels, plane = image * d.channels * d.multiplier + channel;
        reversed(d, down, right, a, b, weight + channel * count, factors);
        const Taps<W> taps{factors, down.count, right.count, 1, 1, tile.first_real, tile.end_real};
        const Window<W> window = tile.window(g, tiling, grad + plane * d.out_height * d.out_width, samples);
        correlate(window, taps, outlet.target(tile, copy > 0), tile.rows);
      }
      outlet.finish(tile);
    }
  });
  return done ? kDone : kNoMemory;
}

// How the sums over all images and tiles are cut into units of work: some channels, whose planes lie side by side, and
// some items (an item is a tile of an image), of which so few that the sums of a lane stay exact.
template <class W>
struct Division {
  int64_t items, items_each, chunks, channels_each, groups;

  Division(const Depthwise &d, const Tiling<W> &tiling, int64_t channels) {
    const int64_t adds = larger(tiling.tile_rows * tiling.pitch / kLanes<W>, 1);
    const int64_t plane_bytes = d.height * d.width * int64_t(sizeof(W));
    const int64_t sums_bytes = d.kernel_height * d.kernel_width * kBytes;
    channels_each = larger(smaller(kRunBytes / plane_bytes, kSumsBytes / sums_bytes), 1);
    channels_each = smaller(channels_each, blocks(channels, kUnits));
    groups = blocks(channels, channels_each);
    items = d.batch * tiling.tiles();
    items_each = larger(smaller(kSumsOfOneLane / adds, blocks(items * groups, kUnits)), 1);
    chunks = blocks(items, items_each);
  }
};

template <class T>
int weight_grad(const Depthwise &d, const T *x, const T *grad, T *weight) {
  typedef Wide<T> W;
  const Geometry g = geometry(d);
  const Tiling<W> tiling(g);
  const int64_t count = d.kernel_height * d.kernel_width, channels = d.channels * d.multiplier;
  const Division<W> division(d, tiling, channels);
  const Buffer partial(size_t(division.chunks * channels * count) * sizeof(double));
  if (!partial.memory) return kNoMemory;
  double *const parts = static_cast<double *>(partial.memory);
  const int64_t target = padded(tiling.tile_rows * tiling.pitch), room = count * kLanes<W>;
  const size_t bytes = size_t(tiling.window_places + target + room * division.channels_each) * sizeof(W);
  const bool done = share(division.groups * division.chunks, d.threads, bytes, [&](int64_t unit, void *memory) {
    const int64_t first = unit / division.chunks * division.channels_each, chunk = unit % division.chunks;
    const int64_t last = smaller(first + division.channels_each, channels);
    W *factors = static_cast<W *>(memory), *samples = factors + target, *sums = samples + tiling.window_places;
    std::memset(sums, 0, size_t(room * (last - first)) * sizeof(W));
    for (int64_t item = chunk * division.items_each; item < smaller(division.items, (chunk + 1) * division.items_each);
         ++item) {
      const int64_t image = item / tiling.tiles();
      const Tile tile(g, tiling, item % tiling.tiles());
      const Window<W> gradients{factors, tile.rows, blocks(tile.columns, kLanes<W>) * kLanes<W>, 1};
      for (int64_t channel = first; channel < last; ++channel) {
        const T *from = x + (image * d.channels + channel / d.multiplier) * d.height * d.width;
        const T *grads = grad + (image * channels + channel) * g.rows * g.columns;
        gradients.fill(grads, g.rows, g.columns, tile.row, tile.column);
        const TapSums<W> taps{tile.window(g, tiling, from, samples), factors, sums + (channel - first) * room,
                              tile.rows, tile.columns, g.kernel_rows, g.kernel_columns, g.row_stride, g.column_stride,
                              tile.first_real, tile.end_real, first_lanes<W>(tile.columns % kLanes<W>)};
        taps.run();
      }
    }
    for (int64_t place = 0; place < (last - first) * count; ++place)
      parts[chunk * channels * count + first * count + place] = sum<W>(load(sums + place * kLanes<W>));
  });
  for (int64_t place = 0; place < channels * count; ++place) {
    double total = 0;
    for (int64_t chunk = 0; chunk < division.chunks; ++chunk) total += parts[chunk * channels * count + place];
    narrow(W(total), weight + place);
  }
  return done ? kDone : kNoMemory;
}

}  // namespace

#define TORCHCONV_TYPED(operation, first, second, result)                                                   \
  switch (d.type) {                                                                                         \
    case kFloat32:                                                                                          \
      return operation(d, (const float *)first, (const float *)second, (float *)result);                    \
    case kFloat64:                                                                                          \
      return operation(d, (const double *)first, (const double *)second, (double *)result);                 \
    case kBfloat16:                                                                                         \
      return operation(d, (const Bfloat16 *)first, (const Bfloat16 *)second, (Bfloat16 *)result);           \
  }                                                                                                         \
  return kUnknownType;

int depthwise_output(const Depthwise &d, const void *x, const void *weight, void *y) {
  TORCHCONV_TYPED(output, x, weight, y)
}

int depthwise_input_grad(const Depthwise &d, const void *grad, const void *weight, void *x) {
  TORCHCONV_TYPED(input_grad, grad, weight, x)
}

int depthwise_weight_grad(const Depthwise &d, const void *x, const void *grad, void *weight) {
  TORCHCONV_TYPED(weight_grad, x, grad, weight)
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
