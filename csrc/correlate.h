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

template <class W, int R, int C>
struct Block {
  vec<W> sums[R][C];

  // One input row under the output rows First .. Last; weight: the row of taps of output row First.
  template <int First, int Last>
  inline __attribute__((always_inline)) void step(const Window<W> &window, const Taps<W> &taps, int64_t row,
                                                  int64_t column, const W *weight) {
    if (row < taps.first_real || row >= taps.end_real) return;
    const int64_t up = taps.row_stride * taps.columns;
    for (int64_t phase = 0; phase < taps.column_stride; ++phase) {
      const W *from = window.row(row, phase) + column;
      for (int64_t tap = phase; tap < taps.columns; tap += taps.column_stride, ++from) {
        vec<W> samples[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) samples[c] = load(from + c * kLanes<W>);
#pragma GCC unroll 8
        for (int r = First; r <= Last; ++r) {
          const W factor = weight[tap - (r - First) * up];
#pragma GCC unroll 8
          for (int c = 0; c < C; ++c) sums[r][c] += samples[c] * factor;
        }
      }
    }
  }

  // Input rows above the first that lies under all output rows, then those below the last one.
  template <int Q>
  inline __attribute__((always_inline)) void head(const Window<W> &window, const Taps<W> &taps, int64_t row,
                                                  int64_t column, const W *weight) {
    if constexpr (Q < R - 1) {
      step<0, Q>(window, taps, row, column, weight);
      head<Q + 1>(window, taps, row + taps.row_stride, column, weight + taps.row_stride * taps.columns);
    }
  }
  template <int Q>
  inline __attribute__((always_inline)) void tail(const Window<W> &window, const Taps<W> &taps, int64_t row,
                                                  int64_t column, const W *weight) {
    if constexpr (Q < R) {
      step<Q, R - 1>(window, taps, row, column, weight);
      tail<Q + 1>(window, taps, row + taps.row_stride, column, weight);
    }
  }

  // Needs at least R rows of taps in every phase of the stride, or R = 1.
  inline __attribute__((always_inline)) void run(const Window<W> &window, const Taps<W> &taps, int64_t row,
                                                 int64_t column) {
    const int64_t step_rows = taps.row_stride, up = taps.row_stride * taps.columns;
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) sums[r][c] = vec<W>{};
    for (int64_t phase = 0; phase < step_rows && phase < taps.rows; ++phase) {
      const int64_t count = blocks(taps.rows - phase, step_rows);
      const W *weight = taps.weight + phase * taps.columns;
      const int64_t first = row * step_rows + phase;
      head<0>(window, taps, first, column, weight);
      for (int64_t q = R - 1; q < count; ++q)
        step<0, R - 1>(window, taps, first + q * step_rows, column, weight + q * up);
      tail<1>(window, taps, first + count * step_rows, column, weight + (count - 1) * up);
    }
  }
};

// Where a tile's outputs go: added to what is there, or in its place.
template <class W>
struct Target {
  W *memory;
  int64_t row_pitch;
  bool add;
};

template <class W, int R, int C>
__attribute__((noinline)) void correlate_block(const Window<W> &window, const Taps<W> &taps, const Target<W> &target,
                                               int64_t row, int64_t column) {
  Block<W, R, C> block;
  block.run(window, taps, row, column);
  for (int r = 0; r < R; ++r) {
    W *to = target.memory + (row + r) * target.row_pitch + column;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      vec<W> sums = block.sums[r][c];
      if (target.add) sums += load(to + c * kLanes<W>);
      store(to + c * kLanes<W>, sums);
    }
  }
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

// All outputs of a tile, rows x columns; the target has room for whole vectors in every row.
template <class W>
void correlate(const Window<W> &window, const Taps<W> &taps, const Target<W> &target, int64_t rows, int64_t columns) {
  const int64_t vectors = blocks(columns, kLanes<W>), deep = larger(taps.rows / taps.row_stride, 1);
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
