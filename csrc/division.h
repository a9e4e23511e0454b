// How the work of an unshared convolution is cut, and the memory that a thread needs for its part.
#pragma once

#include "machine.h"
#include "patch.h"
#include "products.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int64_t kBlockBytes = 32 * 1024;   // for windows
constexpr int64_t kLongestRun = 32;
constexpr int64_t kNearest = 8 * 1024;      // bytes: a prefetch of what is closer comes too late

// How the work is cut: how many channels, images and outputs at a time, and the memory for them.
template <class W>
struct Division {
  const Local &conv;
  int64_t channels, columns, pitch, run, images, runs;

  Division(const Local &c, int64_t channels, bool all_images)
      : conv(c), channels(channels), columns(channels * Strip<W>::rows_of(c) * c.kernel[2]) {
    pitch = blocks(columns, kLanes<W>) * kLanes<W>;
    run = smaller(c.outputs[2], kLongestRun);
    images = c.batch;
    while (run > (all_images ? 1 : kShortestRun) && strip_places() + tile_places() > kStripBytes / int64_t(sizeof(W)))
      run = blocks(run, 2);
    runs = blocks(c.outputs[2], run);
    run = blocks(c.outputs[2], runs);
    while (!all_images && images > kBlock && strip_places() + tile_places() > kStripBytes / int64_t(sizeof(W)))
      images = blocks(images, 2);
  }

  int64_t strip_places() const {
    return images * channels * Strip<W>::rows_of(conv) * Strip<W>::width_of(conv, run) + kSlack;
  }
  int64_t tile_places() const { return run * images * conv.out; }
  int64_t window_places() const { return images * pitch + kSlack; }
  size_t bytes() const {
    return size_t(padded(strip_places()) + padded(tile_places()) + padded(window_places())) * sizeof(W);
  }
  static int64_t padded(int64_t places) { return blocks(places, 16) * 16; }

  // The run with this number, of those along the last axis at a place on the other two.
  Run at(int64_t depth, int64_t row, int64_t number) const {
    const int64_t column = number * run;
    return Run{depth, row, column, smaller(run, conv.outputs[2] - column)};
  }
  Run at(int64_t unit) const {
    const int64_t place = unit / runs;
    return at(place / conv.outputs[1], place % conv.outputs[1], unit % runs);
  }
  int64_t units() const { return conv.outputs[0] * conv.outputs[1] * runs; }
  int64_t position(const Run &run) const {
    return (run.depth * conv.outputs[1] + run.row) * conv.outputs[2] + run.column;
  }
};

// A thread's memory: the strip of a run, its outputs or their gradients (position, image, channel), windows.
template <class W>
struct Desk {
  W *strip, *tile, *windows;
  Desk(void *memory, const Division<W> &cut)
      : strip(static_cast<W *>(memory)),
        tile(strip + cut.padded(cut.strip_places())),
        windows(tile + cut.padded(cut.tile_places())) {}
};

// visit(numbers of the run in an output, where they belong in the tile) for every image and channel of a group; in the
// tile they lie `images * out` apart.
template <class T, class W, class Visit>
void each_line(const Division<W> &cut, const Strip<W> &strip, int64_t group, T *output, W *tile, const Visit &visit) {
  const Local &conv = cut.conv;
  const int64_t positions = conv.outputs[0] * conv.outputs[1] * conv.outputs[2];
  for (int64_t image = 0; image < strip.images; ++image)
    for (int64_t channel = 0; channel < conv.out; ++channel) {
      const int64_t plane = ((strip.first_image + image) * conv.groups + group) * conv.out + channel;
      visit(output + plane * positions + cut.position(strip.run), tile + image * conv.out + channel);
    }
}

template <class T, class W>
void read_tile(const Division<W> &cut, const Strip<W> &strip, int64_t group, const T *grad, W *tile) {
  const int64_t step = strip.images * cut.conv.out, count = strip.run.count;
  each_line(cut, strip, group, grad, tile, [=](const T *from, W *to) {
    for (int64_t place = 0; place < count; ++place) to[place * step] = widen(from[place]);
  });
}

template <class T, class W>
void write_tile(const Division<W> &cut, const Strip<W> &strip, int64_t group, T *y, W *tile) {
  const int64_t step = strip.images * cut.conv.out, count = strip.run.count;
  each_line(cut, strip, group, y, tile, [=](T *to, const W *from) {
    for (int64_t place = 0; place < count; ++place) narrow(from[place * step], to + place);
  });
}

// The weights of a position and group, `rows` of them from row `first` on, from a column on.
template <class T>
Rows<T> rows_of(const Local &conv, const T *weight, int64_t position, int64_t group, int64_t first, int64_t rows,
                int64_t column, int64_t columns) {
  const int64_t pitch = conv.in * conv.kernel[0] * conv.kernel[1] * conv.kernel[2];
  const int64_t ahead = larger(rows * pitch, kNearest / int64_t(sizeof(T)));
  const int64_t row = (position * conv.groups + group) * conv.out + first;
  return Rows<T>{weight + row * pitch + column, pitch, rows, columns, ahead};
}

template <class T>
int64_t slab_rows(const Local &conv) {
  const int64_t bytes = conv.in * conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * int64_t(sizeof(T));
  return blocks(smaller(conv.out, larger(kSlabBytes / bytes, kRows)), kRows) * kRows;
}

// How many columns of a block of images' windows stay in the first-level cache.
template <class W>
int64_t part_columns(int64_t columns) {
  const int64_t parts = blocks(columns * kBlock * int64_t(sizeof(W)), kBlockBytes);
  return blocks(blocks(columns, parts), kLanes<W>) * kLanes<W>;
}

// body(first, count) for blocks of images, all of sizes that the products are compiled for.
template <class Body>
inline TORCHCONV_INLINE void in_blocks(int64_t images, const Body &body) {
  for (int64_t first = 0, size = kBlock; first < images; first += size) {
    while (size > images - first) size /= 2;
    body(first, size);
  }
}

// body(first, count) for parts of a range.
template <class Body>
inline TORCHCONV_INLINE void in_parts(int64_t size, int64_t part, const Body &body) {
  for (int64_t first = 0; first < size; first += part) body(first, smaller(part, size - first));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
