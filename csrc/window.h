// The window of a plane that a tile of outputs reads, copied with its zeros around it into a thread's own buffer.
//
// Where the stride is s, sample t * s + p of a row lies at place t of phase p: so every tap reads its samples side by
// side, whatever the stride. Places that no output needs hold zeros.
#pragma once

#include "partial.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// Rows first_row .. first_row + rows - 1 of a plane and columns from first_column on, of which some may lie outside.
template <class W>
struct Window {
  W *memory;
  int64_t rows, columns, stride;  // columns: places of each phase

  W *row(int64_t number, int64_t phase) const { return memory + (number * stride + phase) * columns; }

  template <class T>
  void fill(const T *plane, int64_t height, int64_t width, int64_t first_row, int64_t first_column) const {
    const int64_t top = smaller(larger(-first_row, 0), rows), end = smaller(rows, height - first_row);  // others: never read
    const Span whole = span(width, first_column);
    for (int64_t number = top; number < end; ++number) {
      for (int64_t phase = 0; phase < stride; ++phase) {
        const Span real = stride == 1 ? whole : span(width, first_column + phase);
        W *to = row(number, phase);
        clear(to, real.low);
        const int64_t written = copy(plane + (first_row + number) * width + real.first, to + real.low, real.count);
        clear(to + real.low + written, columns - real.low - written);
      }
    }
  }

  // Where samples from column `start` on lie in a row: after `low` zeros, `count` of them from column `first`.
  struct Span {
    int64_t low, count, first;
  };

  Span span(int64_t width, int64_t start) const {
    const int64_t low = start < 0 ? smaller(blocks(-start, stride), columns) : 0;
    return {low, larger(smaller(columns, blocks(width - start, stride)) - low, 0), start + low * stride};
  }

  // Both write whole vectors: what follows is written later, and the buffer has room for a vector more than it says.
  static inline TORCHCONV_INLINE void clear(W *to, int64_t count) {
    for (int64_t place = 0; place < count; place += kLanes<W>) store(to + place, vec<W>{});
  }

  // How many were written, zeros after the last sample among them.
  template <class T>
  inline TORCHCONV_INLINE int64_t copy(const T *from, W *to, int64_t count) const {
    if (stride > 1) {
      for (int64_t place = 0; place < count; ++place) to[place] = widen(from[place * stride]);
      return count;
    }
    int64_t place = 0;
    for (; place + kLanes<W> <= count; place += kLanes<W>) store(to + place, load_wide(from + place));
    if (place == count) return count;
    store(to + place, load_wide_first(from + place, count - place));
    return place + kLanes<W>;
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
