// Four floats of each lane, `offset` from where its pointer points, to four vectors, and back.
#pragma once

#include "simd.h"
#if TORCHCONV_BYTES > 16
#include <immintrin.h>
#endif

namespace torchconv {
namespace TORCHCONV_LEVEL {

#if TORCHCONV_BYTES == 64
inline void quads_in_lanes(__m512 a, __m512 b, __m512 c, __m512 d, vec<float> *out) {
  __m512d low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
  __m512d low2 = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)), high2 = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
  out[0] = (vec<float>)_mm512_unpacklo_pd(low, low2);
  out[1] = (vec<float>)_mm512_unpackhi_pd(low, low2);
  out[2] = (vec<float>)_mm512_unpacklo_pd(high, high2);
  out[3] = (vec<float>)_mm512_unpackhi_pd(high, high2);
}
inline __m512 four_rows(const float *const *from, int64_t offset, int first) {
  __m512 rows = _mm512_castps128_ps512(_mm_loadu_ps(from[first] + offset));
  rows = _mm512_insertf32x4(rows, _mm_loadu_ps(from[first + 4] + offset), 1);
  rows = _mm512_insertf32x4(rows, _mm_loadu_ps(from[first + 8] + offset), 2);
  return _mm512_insertf32x4(rows, _mm_loadu_ps(from[first + 12] + offset), 3);
}
inline void gather_quads(const float *const *from, int64_t offset, vec<float> *out) {
  quads_in_lanes(four_rows(from, offset, 0), four_rows(from, offset, 1), four_rows(from, offset, 2),
                 four_rows(from, offset, 3), out);
}
inline void scatter_quads(const vec<float> *in, float *const *to, int64_t offset) {
  vec<float> rows[4];
  quads_in_lanes((__m512)in[0], (__m512)in[1], (__m512)in[2], (__m512)in[3], rows);
  for (int i = 0; i < 4; ++i) {
    _mm_storeu_ps(to[i] + offset, _mm512_castps512_ps128((__m512)rows[i]));
    _mm_storeu_ps(to[i + 4] + offset, _mm512_extractf32x4_ps((__m512)rows[i], 1));
    _mm_storeu_ps(to[i + 8] + offset, _mm512_extractf32x4_ps((__m512)rows[i], 2));
    _mm_storeu_ps(to[i + 12] + offset, _mm512_extractf32x4_ps((__m512)rows[i], 3));
  }
}
#elif TORCHCONV_BYTES == 32
inline void quads_in_lanes(__m256 a, __m256 b, __m256 c, __m256 d, vec<float> *out) {
  __m256d low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
  __m256d low2 = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), high2 = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
  out[0] = (vec<float>)_mm256_unpacklo_pd(low, low2);
  out[1] = (vec<float>)_mm256_unpackhi_pd(low, low2);
  out[2] = (vec<float>)_mm256_unpacklo_pd(high, high2);
  out[3] = (vec<float>)_mm256_unpackhi_pd(high, high2);
}
inline __m256 two_rows(const float *const *from, int64_t offset, int first) {
  const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(from[first] + offset));
  return _mm256_insertf128_ps(low, _mm_loadu_ps(from[first + 4] + offset), 1);
}
inline void gather_quads(const float *const *from, int64_t offset, vec<float> *out) {
  quads_in_lanes(two_rows(from, offset, 0), two_rows(from, offset, 1), two_rows(from, offset, 2),
                 two_rows(from, offset, 3), out);
}
inline void scatter_quads(const vec<float> *in, float *const *to, int64_t offset) {
  vec<float> rows[4];
  quads_in_lanes((__m256)in[0], (__m256)in[1], (__m256)in[2], (__m256)in[3], rows);
  for (int i = 0; i < 4; ++i) {
    _mm_storeu_ps(to[i] + offset, _mm256_castps256_ps128((__m256)rows[i]));
    _mm_storeu_ps(to[i + 4] + offset, _mm256_extractf128_ps((__m256)rows[i], 1));
  }
}
#else
inline void gather_quads(const float *const *from, int64_t offset, vec<float> *out) {
  for (int lane = 0; lane < 4; ++lane)
    for (int i = 0; i < 4; ++i) out[i][lane] = from[lane][offset + i];
}
inline void scatter_quads(const vec<float> *in, float *const *to, int64_t offset) {
  for (int lane = 0; lane < 4; ++lane)
    for (int i = 0; i < 4; ++i) to[lane][offset + i] = in[i][lane];
}
#endif

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
