// The last axis of a pooling: samples split by their place modulo the stride, so that every tap of all outputs of a line
// reads them side by side, and joined again.
#pragma once

#include "interface.h"
#include "partial.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// Output p reads, through tap k, place p + offset(k) of phase(k); place t of phase r is sample t * stride + r - low.
struct Line {
  int64_t size, outputs, kernel, stride, dilation, low;

  explicit Line(const Pooling &pool)
      : size(pool.size[2]),
        outputs(pool.outputs[2]),
        kernel(pool.kernel[2]),
        stride(pool.stride[2]),
        dilation(pool.dilation[2]),
        low(pool.low[2]) {}

  int64_t phase(int64_t tap) const { return tap * dilation % stride; }
  int64_t offset(int64_t tap) const { return tap * dilation / stride; }
  int64_t places() const { return outputs + (kernel - 1) * dilation / stride; }
  int64_t at(int64_t tap) const { return phase(tap) * places() + offset(tap); }

  // The places of a phase that hold samples: from `first` on, before `end`.
  int64_t first(int64_t phase) const { return smaller(larger(rounded_up(low - phase, stride), 0), places()); }
  int64_t end(int64_t phase) const {
    return larger(smaller(rounded_up(size + low - phase, stride), places()), first(phase));
  }

  template <class T, class W>
  void split(const T *row, W *phases, W fill) const {
    const int64_t length = places();
    for (int64_t phase = 0; phase < stride; ++phase) {
      W *to = phases + phase * length;
      for (int64_t place = 0; place < first(phase); ++place) to[place] = fill;
      for (int64_t place = end(phase); place < length; ++place) to[place] = fill;
    }
    if (stride == 2) {
      W *__restrict even = phases, *__restrict odd = phases + length;
      const int64_t begin = larger(first(0), first(1)), stop = smaller(end(0), end(1));
      ends(begin, stop, [&](int64_t place, int64_t phase) {
        phases[phase * length + place] = widen(row[place * 2 + phase - low]);
      });
      const T *__restrict from = row - low;
      for (int64_t place = begin; place < stop; ++place) {
        even[place] = widen(from[2 * place]);
        odd[place] = widen(from[2 * place + 1]);
      }
      return;
    }
    for (int64_t phase = 0; phase < stride; ++phase) {
      W *__restrict to = phases + phase * length;
      const T *__restrict from = row + phase - low;
      if (stride == 1) {
        for (int64_t place = first(phase); place < end(phase); ++place) to[place] = widen(from[place]);
      } else {
        for (int64_t place = first(phase); place < end(phase); ++place) to[place] = widen(from[place * stride]);
      }
    }
  }

  // Samples that no window reads become 0.
  template <class W>
  void join(const W *phases, W *row) const {
    const int64_t length = places();
    if (first(0) > 0 || low < 0 || places() * stride - low < size)
      for (int64_t sample = 0; sample < size; ++sample) row[sample] = 0;
    if (stride == 2) {
      const W *__restrict even = phases, *__restrict odd = phases + length;
      const int64_t begin = larger(first(0), first(1)), stop = smaller(end(0), end(1));
      ends(begin, stop, [&](int64_t place, int64_t phase) {
        row[place * 2 + phase - low] = phases[phase * length + place];
      });
      W *__restrict to = row - low;
      for (int64_t place = begin; place < stop; ++place) {
        to[2 * place] = even[place];
        to[2 * place + 1] = odd[place];
      }
      return;
    }
    for (int64_t phase = 0; phase < stride; ++phase) {
      const W *__restrict from = phases + phase * length;
      W *__restrict to = row + phase - low;
      if (stride == 1) {
        for (int64_t place = first(phase); place < end(phase); ++place) to[place] = from[place];
      } else {
        for (int64_t place = first(phase); place < end(phase); ++place) to[place * stride] = from[place];
      }
    }
  }

  // visit(place, phase) of the samples before and behind those that both phases of a stride of 2 have.
  template <class Visit>
  void ends(int64_t begin, int64_t stop, const Visit &visit) const {
    for (int64_t phase = 0; phase < 2; ++phase) {
      for (int64_t place = first(phase); place < smaller(begin, end(phase)); ++place) visit(place, phase);
      for (int64_t place = larger(larger(stop, begin), first(phase)); place < end(phase); ++place) visit(place, phase);
    }
  }
};

// The rows of a plane that lie under the taps of one row of outputs: visit(number of the row, weight's places).
template <class Visit>
inline TORCHCONV_INLINE void each_row(const Pooling &pool, int64_t depth, int64_t height, const Visit &visit) {
  for (int64_t a = 0; a < pool.kernel[0]; ++a) {
    const int64_t d = depth * pool.stride[0] + a * pool.dilation[0] - pool.low[0];
    if (d < 0 || d >= pool.size[0]) continue;
    for (int64_t b = 0; b < pool.kernel[1]; ++b) {
      const int64_t h = height * pool.stride[1] + b * pool.dilation[1] - pool.low[1];
      if (h >= 0 && h < pool.size[1]) visit(d * pool.size[1] + h, a, b);
    }
  }
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
