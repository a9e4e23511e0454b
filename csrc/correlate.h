// The correlation of one plane with one kernel, for a tile of outputs: y[p] = sum over taps of w[t] * window[p * stride + t].
//
// A block of R rows and C vectors of outputs stays in registers. Each input row that the block touches is read once for
// each column of taps, and serves all the output rows that it lies under; each of those has another weight, spread over
// a vector. The first and the last R - 1 input rows lie under some of the outputs only: those are steps of their own,
// unrolled, so that nothing is multiplied by a zero that stands for "not there" and no NaN goes where it does not belong.
#pragma once

#include "window.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// One plane's taps (rows x columns), the strides, and where the plane's real rows begin and end in the window.
template <class W>
struct Taps {
  const W *weight;
  int64_t rows, columns, row_stride, column_stride, first_real, end_real;
};

constexpr int kSums = kRegisters == 32 ? 24 : 10;  // registers for sums; the others hold inputs and weights
constexpr int kMostRows = 8;
constexpr int kMostVectors = kRegisters == 32 ? 4 : 2;

constexpr int most_rows(int vectors) { return kSums / vectors < kMostRows ? kSums / vectors : kMostRows; }

// Where a tile's outputs go, with so many columns: added to what is there, or in its place.
template <class W>
struct Target {
  W *memory;
  int64_t pitch, columns;
  bool add;

  inline TORCHCONV_INLINE void put(int64_t row, int64_t column, vec<W> sums) const {
    W *to = memory + row * pitch + column;
    const int64_t count = columns - column;
    if (add) sums += count < kLanes<W> ? load_first(to, count) : load(to);
    if (count < kLanes<W>) {
      store_first(to, sums, count);
    } else {
      store(to, sums);
    }
  }
};

template <class W, int R, int C>
struct Block {
  vec<W> sums[R][C];
  const W *window;   // the block's first column in the input row that the next step reads
  int64_t row, row_places;  // that row's number and the places from one to the next, of those a step reads in turn
  int64_t first_real, end_real;
  int64_t tap_columns, column_stride, phase_places;
  int64_t up;  // from the taps of one output row to those of the next

  // One input row under the output rows First .. Last; weight: the row of taps of output row First.
  template <int First, int Last>
  inline TORCHCONV_INLINE void step(const W *weight) {
    if (row >= first_real && row < end_real) {
      for (int64_t phase = 0; phase < column_stride; ++phase) {
        const W *from = window + phase * phase_places;
        for (int64_t tap = phase; tap < tap_columns; tap += column_stride, ++from) column<First, Last>(from, weight + tap);
      }
    }
    ++row;
    window += row_places;
  }

  template <int First, int Last>
  inline TORCHCONV_INLINE void column(const W *from, const W *weight) {
    vec<W> samples[C];
    unrolled<0, C>([&](auto c) TORCHCONV_INLINE { samples[c] = load(from + c * kLanes<W>); });
    unrolled<First, Last + 1>([&](auto r) TORCHCONV_INLINE {
      const W factor = weight[-(r - First) * up];
      unrolled<0, C>([&](auto c) TORCHCONV_INLINE { sums[r][c] += samples[c] * factor; });
    });
  }

  // `count` rows of taps, at least R or R = 1. First the input rows above those that lie under all output rows, then
  // these, then those below.
  inline TORCHCONV_INLINE void run(const W *weight, int64_t count) {
    unrolled<0, R - 1>([&](auto q) TORCHCONV_INLINE {
      step<0, q>(weight);
      weight += up;
    });
    for (int64_t q = R - 1; q < count; ++q, weight += up) step<0, R - 1>(weight);
    unrolled<1, R>([&](auto r) TORCHCONV_INLINE { step<r, R - 1>(weight - up); });
  }
};

template <class W, int R, int C>
__attribute__((noinline)) void correlate_block(const Window<W> &window, const Taps<W> &taps, const Target<W> &target,
                                               int64_t row, int64_t column) {
  Block<W, R, C> block;
  unrolled<0, R>([&](auto r) TORCHCONV_INLINE {
    unrolled<0, C>([&](auto c) TORCHCONV_INLINE { block.sums[r][c] = vec<W>{}; });
  });
  block.row_places = window.stride * window.columns * taps.row_stride;
  block.tap_columns = taps.columns;
  block.column_stride = taps.column_stride;
  block.phase_places = window.columns;
  block.up = taps.row_stride * taps.columns;
  for (int64_t phase = 0; phase < taps.row_stride && phase < taps.rows; ++phase) {
    block.window = window.row(row * taps.row_stride + phase, 0) + column;
    block.row = row;
    block.first_real = blocks(taps.first_real - phase, taps.row_stride);
    block.end_real = blocks(taps.end_real - phase, taps.row_stride);
    block.run(taps.weight + phase * taps.columns, blocks(taps.rows - phase, taps.row_stride));
  }
  unrolled<0, R>([&](auto r) TORCHCONV_INLINE {
    unrolled<0, C>([&](auto c) TORCHCONV_INLINE { target.put(row + r, column + c * kLanes<W>, block.sums[r][c]); });
  });
}

template <class W>
using BlockFunction = void (*)(const Window<W> &, const Taps<W> &, const Target<W> &, int64_t, int64_t);

template <class W, int C, int R = most_rows(C)>
BlockFunction<W> block_of_rows(int64_t rows) {
  if constexpr (R == 1) {
    return correlate_block<W, 1, C>;
  } else {
    return rows >= R ? correlate_block<W, R, C> : block_of_rows<W, C, R - 1>(rows);
  }
}

template <class W, int C = kMostVectors>
BlockFunction<W> block_function(int64_t rows, int64_t vectors) {
  if constexpr (C == 1) {
    return block_of_rows<W, 1>(rows);
  } else {
    return vectors >= C ? block_of_rows<W, C>(rows) : block_function<W, C - 1>(rows, vectors);
  }
}

// All outputs of a tile.
template <class W>
void correlate(const Window<W> &window, const Taps<W> &taps, const Target<W> &target, int64_t rows) {
  const int64_t vectors = blocks(target.columns, kLanes<W>), deep = larger(taps.rows / taps.row_stride, 1);
  for (int64_t done = 0, left = blocks(vectors, kMostVectors); left > 0; --left) {
    const int64_t wide = blocks(vectors - done, left);
    const int64_t most = smaller(most_rows(int(wide)), deep);
    for (int64_t row = 0, strips = blocks(rows, most); strips > 0; --strips) {
      const int64_t high = blocks(rows - row, strips);
      block_function<W>(high, wide)(window, taps, target, row, done * kLanes<W>);
      row += high;
    }
    done += wide;
  }
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
