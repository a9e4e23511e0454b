// Numbers as memory holds them, and what simd.h lacks: rows that are not whole vectors, memory that is not read soon.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

// A statement with T standing for the type of conv's numbers.
#define BY_TYPE(T, ...)                            \
  switch (conv.type) {                             \
    case kFloat32: { typedef float T; __VA_ARGS__; }     \
    case kFloat64: { typedef double T; __VA_ARGS__; }    \
    case kBfloat16: { typedef Bfloat16 T; __VA_ARGS__; } \
  }                                                \
  return kUnknownType

typedef uint16_t Halves __attribute__((vector_size(TORCHCONV_BYTES / 2), aligned(2), may_alias));
typedef uint32_t Bits __attribute__((vector_size(TORCHCONV_BYTES)));

inline TORCHCONV_INLINE vec<float> widened(Halves halves) {
  return reinterpret_cast<vec<float>>(__builtin_convertvector(halves, Bits) << 16);
}

// A vector of numbers as they are computed with.
template <class T>
inline TORCHCONV_INLINE vec<Wide<T>> load_wide(const T *from) {
  return load(from);
}
template <>
inline TORCHCONV_INLINE vec<float> load_wide(const Bfloat16 *from) {
  return widened(*reinterpret_cast<const Halves *>(from));
}

// The first numbers of a vector, zeros for the others; memory beyond them is not touched.
template <class T>
inline TORCHCONV_INLINE vec<Wide<T>> load_wide_first(const T *from, int64_t count) {
  Wide<T> lanes[kLanes<Wide<T>>] = {};
  for (int64_t lane = 0; lane < count; ++lane) lanes[lane] = widen(from[lane]);
  return load(lanes);
}
#if TORCHCONV_BYTES == 64
template <>
inline TORCHCONV_INLINE vec<float> load_wide_first(const float *from, int64_t count) {
  return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
}
template <>
inline TORCHCONV_INLINE vec<float> load_wide_first(const Bfloat16 *from, int64_t count) {
  return widened(reinterpret_cast<Halves>(_mm256_maskz_loadu_epi16(__mmask16((1u << count) - 1), from)));
}
#elif TORCHCONV_BYTES == 32
template <>
inline TORCHCONV_INLINE vec<float> load_wide_first(const float *from, int64_t count) {
  const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), place));
}
#endif

// A vector in the type of the memory; bfloat16 to nearest, ties to even.
template <class T>
inline TORCHCONV_INLINE void store_narrow(T *to, vec<T> value) {
  store(to, value);
}
inline TORCHCONV_INLINE void store_narrow(Bfloat16 *to, vec<float> value) {
  const Bits bits = reinterpret_cast<Bits>(value), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const Bits number = reinterpret_cast<Bits>(value == value);
  *reinterpret_cast<Halves *>(to) = __builtin_convertvector((rounded & number) | (~number & 0x7fc0), Halves);
}

template <class T>
inline TORCHCONV_INLINE void store_narrow_first(T *to, vec<Wide<T>> value, int64_t count) {
  Wide<T> lanes[kLanes<Wide<T>>];
  store(lanes, value);
  for (int64_t lane = 0; lane < count; ++lane) narrow(lanes[lane], to + lane);
}
#if TORCHCONV_BYTES == 64
template <>
inline TORCHCONV_INLINE void store_narrow_first(float *to, vec<float> value, int64_t count) {
  _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), value);
}
#endif

// Past the caches, to memory aligned to whole vectors; stream_end() before another thread may read it.
template <class T>
inline TORCHCONV_INLINE void stream(T *to, vec<T> value) {
#if TORCHCONV_BYTES == 64
  _mm512_stream_si512(reinterpret_cast<__m512i *>(to), reinterpret_cast<__m512i>(value));
#elif TORCHCONV_BYTES == 32
  _mm256_stream_si256(reinterpret_cast<__m256i *>(to), reinterpret_cast<__m256i>(value));
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i *>(to), reinterpret_cast<__m128i>(value));
#else
  store(to, value);
#endif
}
inline TORCHCONV_INLINE void stream(Bfloat16 *to, vec<float> value) { store_narrow(to, value); }

inline void stream_end() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// The sums of Count vectors, side by side.
template <class T, int Count>
inline TORCHCONV_INLINE void sums(const vec<T> *vectors, T *to) {
  constexpr int few = kLanes<T> < 4 ? kLanes<T> : 4;
  typedef T Few __attribute__((vector_size(few * sizeof(T)), may_alias, aligned(alignof(T))));
#pragma GCC unroll 32
  for (int number = 0; number < Count; ++number) {
    T lanes[kLanes<T>] __attribute__((aligned(64)));
    store(lanes, vectors[number]);
    Few total = *reinterpret_cast<const Few *>(lanes);
#pragma GCC unroll 4
    for (int part = 1; part < kLanes<T> / few; ++part) total += *reinterpret_cast<const Few *>(lanes + part * few);
    T whole = total[0];
#pragma GCC unroll 4
    for (int lane = 1; lane < few; ++lane) whole += total[lane];
    to[number] = whole;
  }
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
