// The products of unshared convolution: matrices of a few images against the rows of one position's weights, which come
// from memory once and are read once. Rows are outputs, columns the numbers of a window.
//
// Every function takes a block of rows and columns that fits into registers. `ahead` says how much further on the
// memory lies that will be read next: a prefetch for each vector keeps it coming while the processor multiplies.
#pragma once

#include "machine.h"
#include "partial.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int kColumns = kRegisters == 32 ? 6 : 2;  // vectors of columns of the weights' gradient
constexpr int kRows = 4;

// Rows and vectors of columns of the weights that so many images leave registers for.
constexpr int rows_for(int images) { return images >= kBlock ? 2 : 4; }
constexpr int columns_for(int images) { return kRegisters == 16 ? 2 : images == 8 ? 3 : 6; }

// The weights of one position and group, or some rows and columns of them.
template <class T>
struct Rows {
  const T *memory;
  int64_t pitch, rows, columns, ahead;
};

// Numbers of every image: its windows, its outputs, or their gradients.
template <class W>
struct Images {
  W *memory;
  int64_t pitch, count;
};

// outputs[b][r] (+)= sum over the columns of weights[r] * windows[b].
template <class T, int R, int B>
void multiply(const Rows<T> &weights, const Wide<T> *windows, int64_t pitch, Wide<T> *outputs, int64_t output_pitch,
              bool add) {
  typedef Wide<T> W;
  vec<W> total[R * B] = {};
  const int64_t whole = weights.columns / kLanes<W> * kLanes<W>;
  for (int64_t column = 0; column < weights.columns; column += kLanes<W>) {
    vec<W> factors[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T *from = weights.memory + r * weights.pitch + column;
      factors[r] = column < whole ? load_wide(from) : load_wide_first(from, weights.columns - column);
      __builtin_prefetch(from + weights.ahead, 0, 2);
    }
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) {
      const vec<W> window = load(windows + b * pitch + column);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) total[r * B + b] += factors[r] * window;
    }
  }
  W found[R * B];
  sums<W, R * B>(total, found);
  for (int r = 0; r < R; ++r)
    for (int b = 0; b < B; ++b) {
      W *to = outputs + b * output_pitch + r;
      *to = add ? *to + found[r * B + b] : found[r * B + b];
    }
}

// windows[b] (+)= sum over the rows of grads[b][r] * weights[r], for V vectors of columns or a part of one.
template <class T, int V, int B, bool Part>
void spread(const Rows<T> &weights, const Wide<T> *grads, int64_t grad_pitch, Wide<T> *windows, int64_t pitch, bool add) {
  typedef Wide<T> W;
  vec<W> total[B][V] = {};
  if (add)
    for (int b = 0; b < B; ++b)
      for (int v = 0; v < V; ++v) total[b][v] = load(windows + b * pitch + v * kLanes<W>);
  for (int64_t r = 0; r < weights.rows; ++r) {
    const T *from = weights.memory + r * weights.pitch;
    vec<W> factors[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      factors[v] = Part ? load_wide_first(from, weights.columns) : load_wide(from + v * kLanes<W>);
      __builtin_prefetch(from + weights.ahead + v * kLanes<W>, 0, 2);
    }
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) {
      const W grad = grads[b * grad_pitch + r];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) total[b][v] += factors[v] * grad;
    }
  }
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(windows + b * pitch + v * kLanes<W>, total[b][v]);
}

// weights[r] = sum over the images of grads[b][r] * windows[b], for V vectors of columns or the first `part` numbers.
template <class T, int R, int V>
void correlate_images(T *weights, int64_t weight_pitch, const Images<Wide<T>> &grads, const Images<Wide<T>> &windows,
                      int64_t part, bool past_caches) {
  typedef Wide<T> W;
  vec<W> total[R][V] = {};
  for (int64_t b = 0; b < windows.count; ++b) {
    vec<W> window[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) window[v] = load(windows.memory + b * windows.pitch + v * kLanes<W>);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const W grad = grads.memory[b * grads.pitch + r];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) total[r][v] += window[v] * grad;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      T *to = weights + r * weight_pitch + v * kLanes<W>;
      if (part)
        store_narrow_first(to, total[r][v], part);
      else if (past_caches)
        stream(to, total[r][v]);
      else
        store_narrow(to, total[r][v]);
    }
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
