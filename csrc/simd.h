// Vectors of the instruction set that a file is compiled for (TORCHCONV_LEVEL, TORCHCONV_BYTES), in the compiler's own
// vector types: `a * b + c` is one fused multiply-add where the processor has it, and a scalar spreads by itself.
//
// Everything here is inside the level's namespace. The linker keeps one copy of what is shared between files, and that
// copy could hold instructions that the processor lacks; for the same reason kernels use no templates of std.
#pragma once

#include <cstdint>
#include <cstring>

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
inline __attribute__((always_inline)) vec<T> load(const T *from) {
  return *reinterpret_cast<const typename Vectors<T>::loose *>(from);
}

template <class T>
inline __attribute__((always_inline)) void store(T *to, vec<T> value) {
  *reinterpret_cast<typename Vectors<T>::loose *>(to) = value;
}

template <class T>
inline __attribute__((always_inline)) void store_first(T *to, vec<T> value, int64_t count) {
  T lanes[kLanes<T>];
  store(lanes, value);
  std::memcpy(to, lanes, size_t(count) * sizeof(T));
}

template <class T>
inline double sum(vec<T> value) {
  T lanes[kLanes<T>];
  store(lanes, value);
  double total = 0;
  for (int lane = 0; lane < kLanes<T>; ++lane) total += double(lanes[lane]);
  return total;
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
