// Powers of absolute values and their roots, for the norms of windows.
#pragma once

#include "simd.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// |x|^Power, and its derivative but for a factor.
template <int Power, class W>
inline W power(W value) {
  const W size = value < 0 ? -value : value;
  return Power == 1 ? size : Power == 2 ? size * size : Power == 3 ? size * size * size : (size * size) * (size * size);
}
template <class W>
inline W slope(W x, int64_t power) {
  const W size = x < 0 ? -x : x;
  return power == 1 ? W(x > 0) - W(x < 0) : power == 2 ? x : power == 3 ? x * size : x * (size * size);
}

// The third root of a number >= 0: a third of its exponent, and Halley's steps, each of which triples the digits.
inline double third_root(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (((bits >> 32) * 0xaaaaaaabull >> 33) + 715094163ull) << 32;
  double root;
  std::memcpy(&root, &bits, sizeof root);
  for (int step = 0; step < 4; ++step) {
    const double cube = root * root * root;
    root *= (cube + 2 * x) / (2 * cube + x);
  }
  return x > 0 && x < __builtin_inf() ? root : x;
}

template <class W>
inline void roots(W *__restrict values, int64_t count, int64_t power) {
  if (power == 2)
    for (int64_t i = 0; i < count; ++i) values[i] = W(__builtin_sqrt(values[i]));
  if (power == 3)
    for (int64_t i = 0; i < count; ++i) values[i] = W(third_root(double(values[i])));
  if (power == 4)
    for (int64_t i = 0; i < count; ++i) values[i] = W(__builtin_sqrt(__builtin_sqrt(values[i])));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
