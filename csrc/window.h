// The window of a plane that a tile of outputs reads, copied with its zeros around it into a thread's own buffer.
//
// Where the stride is s, sample t * s + p of a row lies at place t of phase p: so every tap reads its samples side by
// side, whatever the stride. Places that no output needs hold zeros.
#pragma once

#include "simd.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// Memory holds bfloat16 as its upper half of a float32; everything is computed in float or double.
struct Bfloat16 {
  uint16_t bits;
};

inline double widen(double value) { return value; }
inline float widen(float value) { return value; }
inline float widen(Bfloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

inline void narrow(double value, double *to) { *to = value; }
inline void narrow(float value, float *to) { *to = value; }
inline void narrow(float value, Bfloat16 *to) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest, ties to even
  to->bits = uint16_t(value != value ? 0x7fc0 : rounded);
}

template <class T>
struct WideOf {
  typedef T type;
};
template <>
struct WideOf<Bfloat16> {
  typedef float type;
};
template <class T>
using Wide = typename WideOf<T>::type;

// Rows first_row .. first_row + rows - 1 of a plane and columns from first_column on, of which some may lie outside.
template <class W>
struct Window {
  W *memory;
  int64_t rows, columns, stride;  // columns: places of each phase

  W *row(int64_t number, int64_t phase) const { return memory + (number * stride + phase) * columns; }

  template <class T>
  void fill(const T *plane, int64_t height, int64_t width, int64_t first_row, int64_t first_column) const {
    for (int64_t number = 0; number < rows; ++number) {
      const int64_t source = first_row + number;
      if (source < 0 || source >= height) continue;  // never read
      for (int64_t phase = 0; phase < stride; ++phase)
        spread(plane + source * width, width, first_column + phase, row(number, phase), (height - source) * width);
    }
  }

  // A row of the plane, after which so many numbers of the plane follow, itself included.
  template <class T>
  void spread(const T *from, int64_t width, int64_t start, W *to, int64_t left) const {
    const int64_t low = start < 0 ? smaller(blocks(-start, stride), columns) : 0;
    const int64_t high = larger(low, smaller(columns, blocks(width - start, stride)));
    clear(to, low);
    copy(from + start + low * stride, to + low, high - low, left - start - low * stride);
    clear(to + high, columns - high);
  }

  // Both write whole vectors: what follows is written later, and the buffer has room for a vector more than it says.
  // Whole vectors are read, too, up to the plane's end: a masked load takes much longer than the numbers it leaves out.
  static void clear(W *to, int64_t count) {
    for (int64_t place = 0; place < count; place += kLanes<W>) store(to + place, vec<W>{});
  }

  void copy(const W *from, W *to, int64_t count, int64_t left) const {
    if (stride > 1) {
      for (int64_t place = 0; place < count; ++place) to[place] = from[place * stride];
      return;
    }
    int64_t place = 0;
    for (; place < count && place + kLanes<W> <= left; place += kLanes<W>) store(to + place, load(from + place));
    if (place < count) store(to + place, load_first(from + place, count - place));
  }

  void copy(const Bfloat16 *from, W *to, int64_t count, int64_t) const {
    for (int64_t place = 0; place < count; ++place) to[place] = widen(from[place * stride]);
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
