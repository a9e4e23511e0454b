// Tiled convolution as ordinary ones on lattices: results that lie a period apart use the same products of taps.
//
// Along an axis, result q of class c (q = c + n * step) is a sum over terms, each a tap of the kernel of some phase times
// the source sample at `offset + n * source_step`. For the output, a class is a phase of the sharing. For the gradient of
// the input the source is the gradient of the output, and a class is a remainder modulo stride * period: it says which
// taps meet samples at all, and which kernel each of them belongs to.
#pragma once

#include "interface.h"
#include "partial.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

struct Term {
  bool is_there;
  int64_t offset, phase;
};

struct Lattice {
  int64_t source, results, kernel, stride, dilation, low, period;
  bool back;  // towards the input

  int64_t step() const { return back ? stride * period : period; }
  int64_t source_step() const { return back ? period : stride * period; }
  int64_t classes() const { return smaller(step(), results); }
  int64_t count(int64_t c) const { return c < results ? (results - 1 - c) / step() + 1 : 0; }

  Term term(int64_t c, int64_t tap) const {
    if (!back) return Term{true, c * stride + tap * dilation - low, c};
    const int64_t place = c + low - tap * dilation, offset = place / stride;
    if (offset * stride != place) return Term{false, 0, 0};
    return Term{true, offset, (offset % period + period) % period};
  }

  int64_t terms(int64_t c) const {
    int64_t found = 0;
    for (int64_t tap = 0; tap < kernel; ++tap) found += term(c, tap).is_there;
    return found;
  }

  // The first source sample that a result with n = 0 reads, and how many samples those with n < count span.
  int64_t first() const {
    return back ? -(blocks(larger((kernel - 1) * dilation - low, 0), stride)) : -low;
  }
  int64_t span(int64_t count) const {
    const int64_t last = back ? (classes() - 1 + larger(low, 0)) / stride : (classes() - 1) * stride + (kernel - 1) * dilation - low;
    return larger((count - 1) * source_step() + last + 1 - first(), 1);
  }
};

// A part of the source in a thread's memory, with zeros for what lies outside: channels x depth x rows x columns.
template <class W>
struct Box {
  W *memory;
  int64_t first[3], sizes[3];

  int64_t plane() const { return sizes[0] * sizes[1] * sizes[2]; }

  template <class T>
  void fill(const T *from, const int64_t *size, int64_t channels) const {
    W *to = memory;
    const int64_t begin = smaller(larger(-first[2], 0), sizes[2]);
    const int64_t end = larger(begin, smaller(sizes[2], size[2] - first[2]));
    for (int64_t channel = 0; channel < channels; ++channel, from += size[0] * size[1] * size[2])
      for (int64_t a = first[0]; a < first[0] + sizes[0]; ++a)
        for (int64_t b = first[1]; b < first[1] + sizes[1]; ++b, to += sizes[2]) {
          const bool inside = a >= 0 && a < size[0] && b >= 0 && b < size[1];
          const T *row = from + (a * size[1] + b) * size[2] + first[2];
          const int64_t low = inside ? begin : sizes[2], high = inside ? end : sizes[2];
          for (int64_t place = 0; place < low; ++place) to[place] = 0;
          for (int64_t place = low; place < high; ++place) to[place] = widen(row[place]);
          for (int64_t place = high; place < sizes[2]; ++place) to[place] = 0;
        }
  }
};

// Rows of `columns` channels, of which `real` are there, to planes of channels and back: samples `step` apart.
template <class W, class T>
__attribute__((noinline)) void write_lines(const W *lines, int64_t columns, int64_t real, int64_t count, T *planes,
                                           int64_t plane, int64_t step) {
  for (int64_t lane = 0; lane < real; ++lane)
    for (int64_t n = 0; n < count; ++n) narrow(lines[n * columns + lane], planes + lane * plane + n * step);
}
template <class W, class T>
__attribute__((noinline)) void read_lines(W *lines, int64_t columns, int64_t real, int64_t count, const T *planes,
                                          int64_t plane, int64_t step) {
  for (int64_t lane = 0; lane < columns; ++lane)
    for (int64_t n = 0; n < count; ++n)
      lines[n * columns + lane] = lane < real ? widen(planes[lane * plane + n * step]) : W(0);
}

constexpr int kMostLanes = kRegisters == 32 ? 4 : 2;  // vectors of a row of factors
constexpr int rows_beside(int vectors) { return kRegisters == 16 ? 6 : vectors == 4 ? 6 : 8; }
constexpr int64_t kMostRows = 8;
constexpr int64_t kFactorBytes = 24 * 1024;  // of factors that stay in the first-level cache

// sums[r] (+)= sum over k of source[places[r] + offsets[k]] * factors[k], for rows of V vectors.
template <class W, int V>
__attribute__((noinline)) void gathered(const W *source, const int64_t *places, const int64_t *offsets, int64_t count,
                                        const W *factors, W *sums, bool add) {
  constexpr int R = rows_beside(V), wide = V * kLanes<W>;
  const W *from[R];
  vec<W> total[R][V] = {};
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) from[r] = source + places[r];
  if (add)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) total[r][v] = load(sums + r * wide + v * kLanes<W>);
  for (int64_t k = 0; k < count; ++k, factors += wide) {
    const int64_t offset = offsets[k];
    vec<W> row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = load(factors + v * kLanes<W>);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const W sample = from[r][offset];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) total[r][v] += row[v] * sample;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(sums + r * wide + v * kLanes<W>, total[r][v]);
}

// The same for any number of rows and factors, `vectors` wide: factors are taken in parts that stay in the cache. Sums
// and places have room for kMostRows more rows than there are.
template <class W>
void gather(const W *source, const int64_t *places, int64_t rows, const int64_t *offsets, int64_t count,
            const W *factors, W *sums, int64_t vectors, bool add) {
  const int64_t wide = vectors * kLanes<W>, most = kFactorBytes / (wide * int64_t(sizeof(W)));
  const int64_t high = rows_beside(int(vectors)), parts = larger(blocks(count, most), 1), part = blocks(count, parts);
  for (int64_t first = 0; first < count || first == 0; first += larger(part, 1)) {
    const int64_t here = smaller(part, count - first);
    for (int64_t row = 0; row < rows; row += high) {
      W *to = sums + row * wide;
      const W *from = factors + first * wide;
      const bool more = add || first > 0;
      if (vectors == 1) gathered<W, 1>(source, places + row, offsets + first, here, from, to, more);
      if (vectors == 2) gathered<W, 2>(source, places + row, offsets + first, here, from, to, more);
      if constexpr (kMostLanes == 4) {
        if (vectors == 3) gathered<W, 3>(source, places + row, offsets + first, here, from, to, more);
        if (vectors == 4) gathered<W, 4>(source, places + row, offsets + first, here, from, to, more);
      }
    }
  }
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
