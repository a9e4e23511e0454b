// Vectors of the instruction set that a file is compiled for (TORCHCONV_LEVEL, TORCHCONV_BYTES), in the compiler's own
// vector types: `a * b + c` is one fused multiply-add where the processor has it, and a scalar spreads by itself.
//
// Everything here is inside the level's namespace. The linker keeps one copy of what is shared between files, and that
// copy could hold instructions that the processor lacks; for the same reason kernels use no templates of std.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define TORCHCONV_INLINE __attribute__((always_inline))

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int kBytes = TORCHCONV_BYTES;
constexpr int kRegisters = TORCHCONV_BYTES == 64 ? 32 : 16;

template <class T>
constexpr int kLanes = kBytes / int(sizeof(T));

template <class T>
struct Vectors {
  typedef T whole __attribute__((vector_size(TORCHCONV_BYTES)));
  typedef T loose __attribute__((vector_size(TORCHCONV_BYTES), aligned(alignof(T)), may_alias));
};

template <class T>
using vec = typename Vectors<T>::whole;

template <class T>
inline TORCHCONV_INLINE vec<T> load(const T *from) {
  return *reinterpret_cast<const typename Vectors<T>::loose *>(from);
}

template <class T>
inline TORCHCONV_INLINE void store(T *to, vec<T> value) {
  *reinterpret_cast<typename Vectors<T>::loose *>(to) = value;
}

// The first `count` lanes only, and zeros in the others.
template <class T>
inline TORCHCONV_INLINE vec<T> load_first(const T *from, int64_t count) {
  T lanes[kLanes<T>] = {};
  std::memcpy(lanes, from, size_t(count) * sizeof(T));
  return load(lanes);
}

// The first `count` lanes only.
template <class T>
inline TORCHCONV_INLINE void store_first(T *to, vec<T> value, int64_t count) {
  T lanes[kLanes<T>];
  store(lanes, value);
  std::memcpy(to, lanes, size_t(count) * sizeof(T));
}

#if defined(__AVX512F__)  // with masks of one bit for each number; masks of bytes are several times slower
template <>
inline TORCHCONV_INLINE vec<float> load_first(const float *from, int64_t count) {
  return _mm512_maskz_loadu_ps(__mmask16(0xffff >> (16 - count)), from);
}
template <>
inline TORCHCONV_INLINE vec<double> load_first(const double *from, int64_t count) {
  return _mm512_maskz_loadu_pd(__mmask8(0xff >> (8 - count)), from);
}
template <>
inline TORCHCONV_INLINE void store_first(float *to, vec<float> value, int64_t count) {
  _mm512_mask_storeu_ps(to, __mmask16(0xffff >> (16 - count)), value);
}
template <>
inline TORCHCONV_INLINE void store_first(double *to, vec<double> value, int64_t count) {
  _mm512_mask_storeu_pd(to, __mmask8(0xff >> (8 - count)), value);
}
#endif

template <class T>
struct MaskOf;
template <>
struct MaskOf<float> {
  typedef int32_t type __attribute__((vector_size(TORCHCONV_BYTES)));
};
template <>
struct MaskOf<double> {
  typedef int64_t type __attribute__((vector_size(TORCHCONV_BYTES)));
};

// All bits of the first `count` lanes.
template <class T>
inline typename MaskOf<T>::type first_lanes(int64_t count) {
  typename MaskOf<T>::type mask{};
  for (int lane = 0; lane < kLanes<T>; ++lane) mask[lane] = lane < count ? -1 : 0;
  return mask;
}

// The value where the mask has ones; zero, whatever the value, where it has none.
template <class T>
inline TORCHCONV_INLINE vec<T> kept(vec<T> value, typename MaskOf<T>::type mask) {
  return reinterpret_cast<vec<T>>(reinterpret_cast<typename MaskOf<T>::type>(value) & mask);
}

// sums[0] becomes the sum of 2 * Half numbers, in pairs, so that no addition waits for more than the halves before it.
template <int Half>
inline TORCHCONV_INLINE void unrolled_halves(double *sums) {
  for (int lane = 0; lane < Half; ++lane) sums[lane] += sums[lane + Half];
  if constexpr (Half > 1) unrolled_halves<Half / 2>(sums);
}

template <class T>
inline double sum(vec<T> value) {
  T lanes[kLanes<T>];
  double sums[kLanes<T>];
  store(lanes, value);
  for (int lane = 0; lane < kLanes<T>; ++lane) sums[lane] = double(lanes[lane]);
  unrolled_halves<kLanes<T> / 2>(sums);
  return sums[0];
}

// body(Index<First>()), .. , body(Index<End - 1>()), unrolled before the compiler looks for what fits into registers:
// an array whose indices are all such constants stays there, one that is indexed in an unrolled loop may not.
template <int N>
struct Index {
  constexpr operator int() const { return N; }
};

template <int First, int End, class Body>
inline TORCHCONV_INLINE void unrolled(const Body &body) {
  if constexpr (First < End) {
    body(Index<First>());
    unrolled<First + 1, End>(body);
  }
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }  // of a size >= 0
inline int64_t rounded_up(int64_t a, int64_t b) { return a > 0 ? blocks(a, b) : -(-a / b); }  // a / b

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
