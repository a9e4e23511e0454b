// Memory that is kept from call to call, because touching new pages costs more than filling old ones.
#pragma once

#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "vectors.h"

namespace LEVEL {

class Room {
 public:
  // Of this thread, until it asks again.
  static Vec* own(size_t vectors) {
    thread_local Room room;
    return reinterpret_cast<Vec*>(room.grown(vectors * sizeof(Vec)));
  }
  // Of the threads that the calling one starts, until it asks again.
  static float* shared(size_t floats) {
    thread_local Room room;
    return reinterpret_cast<float*>(room.grown(floats * sizeof(float)));
  }

 private:
  static constexpr size_t PAGE = 2 << 20, MOST = size_t(256) << 20;  // larger rooms are not kept

  ~Room() { std::free(data_); }

  void* grown(size_t bytes) {
    if (bytes > size_ || size_ > MOST) {
      std::free(data_);
      size_ = 0;
      size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
      data_ = std::aligned_alloc(PAGE, whole);
      if (!data_) throw std::bad_alloc();
#if defined(__linux__)
      madvise(data_, whole, MADV_HUGEPAGE);
#endif
      size_ = whole;
    }
    return data_;
  }

  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace LEVEL
