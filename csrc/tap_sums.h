// What each tap is multiplied with, summed over a tile: sums[t] += window[p * stride + t] * grad[p] over outputs p.
//
// A block of I x J taps stays in registers, one vector of partial sums for each. Where a row of the window lies under
// I rows of outputs through the I rows of taps, its samples are read once for all. The rows at both ends lie under fewer,
// and are done one row of taps at a time. No product is formed with what is not there: lanes past the last output are
// cleared in both factors.
#pragma once

#include "window.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int kTapRows = kRegisters == 32 ? 4 : 3;
constexpr int kTapColumns = kRegisters == 32 ? 6 : 3;

template <class W>
struct TapSums {
  Window<W> window;
  const W *grad;  // rows x vectors of outputs
  W *sums;        // a vector for every tap, row by row
  int64_t rows, columns, kernel_rows, kernel_columns, row_stride, column_stride;
  int64_t first_real, end_real;  // the plane's rows in the window
  typename MaskOf<W>::type last_lanes;

  int64_t pitch() const { return blocks(columns, kLanes<W>) * kLanes<W>; }

  // The tile's sums, added to what is there.
  void run() const {
    for (int64_t row_phase = 0; row_phase < smaller(row_stride, kernel_rows); ++row_phase) {
      const int64_t depth = blocks(kernel_rows - row_phase, row_stride), most = smaller(kTapRows, rows);
      for (int64_t a = 0, strips = blocks(depth, most); strips > 0; --strips) {
        const int64_t high = blocks(depth - a, strips);
        for (int64_t phase = 0; phase < smaller(column_stride, kernel_columns); ++phase) {
          const int64_t width = blocks(kernel_columns - phase, column_stride);
          for (int64_t t = 0, parts = blocks(width, kTapColumns); parts > 0; --parts) {
            const int64_t wide = blocks(width - t, parts);
            strip(row_phase, a, high, phase, t, wide);
            t += wide;
          }
        }
        a += high;
      }
    }
  }

 private:
  // Taps a .. a + high - 1 of a row phase and t .. t + wide - 1 of a column phase.
  void strip(int64_t row_phase, int64_t a, int64_t high, int64_t phase, int64_t t, int64_t wide) const {
    block<kTapRows>(high, wide)(*this, Block{row_phase, phase, a, t, a + high - 1, a + rows});
    for (int64_t row = a; high > 1 && row < a + high; ++row) {
      block<1>(1, wide)(*this, Block{row_phase, phase, row, t, row, a + high - 1});
      block<1>(1, wide)(*this, Block{row_phase, phase, row, t, a + rows, row + rows});
    }
  }

  // Taps from (a, t) on, and the rows first .. end - 1 of the row phase in the window.
  struct Block {
    int64_t row_phase, phase, a, t, first, end;
  };
  typedef void (*Function)(const TapSums &, const Block &);

  template <int I, int J = kTapColumns>
  static Function block(int64_t high, int64_t wide) {
    if constexpr (I > 1) {
      if (high < I) return block<I - 1, J>(high, wide);
    }
    if constexpr (J > 1) {
      if (wide < J) return block<I, J - 1>(high, wide);
    }
    return add<I, J>;
  }

  template <int I, int J>
  static __attribute__((noinline)) void add(const TapSums &all, const Block &block) {
    vec<W> sums[I][J];
    const int64_t pitch = all.pitch(), whole = all.columns / kLanes<W> * kLanes<W>;
    W *const memory = all.sums + ((block.a * all.row_stride + block.row_phase) * all.kernel_columns +
                                  block.t * all.column_stride + block.phase) * kLanes<W>;
    const int64_t down = all.row_stride * all.kernel_columns * kLanes<W>, right = all.column_stride * kLanes<W>;
    unrolled<0, I>([&](auto i) TORCHCONV_INLINE {
      unrolled<0, J>([&](auto j) TORCHCONV_INLINE { sums[i][j] = load(memory + i * down + j * right); });
    });
    const auto mask = all.last_lanes;
    for (int64_t q = block.first; q < block.end; ++q) {
      const int64_t row = q * all.row_stride + block.row_phase;
      if (row < all.first_real || row >= all.end_real) continue;
      const W *from = all.window.row(row, block.phase) + block.t, *grad = all.grad + (q - block.a) * pitch;
      int64_t column = 0;
      for (; column < whole; column += kLanes<W>)
        multiply<I, J>(sums, from + column, grad + column, pitch, [](vec<W> x) TORCHCONV_INLINE { return x; });
      if (column < all.columns)
        multiply<I, J>(sums, from + column, grad + column, pitch,
                       [&](vec<W> x) TORCHCONV_INLINE { return kept<W>(x, mask); });
    }
    unrolled<0, I>([&](auto i) TORCHCONV_INLINE {
      unrolled<0, J>([&](auto j) TORCHCONV_INLINE { store(memory + i * down + j * right, sums[i][j]); });
    });
  }

  template <int I, int J, class Keep>
  static inline TORCHCONV_INLINE void multiply(vec<W> (&sums)[I][J], const W *from, const W *grad, int64_t pitch,
                                               const Keep &keep) {
    vec<W> factors[I];
    unrolled<0, I>([&](auto i) TORCHCONV_INLINE { factors[i] = load(grad - i * pitch); });
    unrolled<0, J>([&](auto j) TORCHCONV_INLINE {
      const vec<W> samples = keep(load(from + j));
      unrolled<0, I>([&](auto i) TORCHCONV_INLINE { sums[i][j] += samples * factors[i]; });
    });
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
