// Work shared among the threads of OpenMP, each with a buffer of its own.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr size_t kLine = 64;

// Aligned memory that is freed at the end of the scope; null where there is none left.
struct Buffer {
  void *memory;
  explicit Buffer(size_t bytes) : memory(aligned_alloc(kLine, (bytes + 2 * kLine) / kLine * kLine)) {}
  ~Buffer() { free(memory); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
};

// body(unit, buffer) for every unit, on so many threads. False where the memory for a buffer is missing.
// One thread stays out of OpenMP altogether: its threads are not there in a process made by fork.
template <class Body>
bool share(int64_t units, int64_t threads, size_t bytes, const Body &body) {
  if (threads > units) threads = units;
  if (threads <= 1) {
    Buffer buffer(bytes);
    if (!buffer.memory) return false;
    for (int64_t unit = 0; unit < units; ++unit) body(unit, buffer.memory);
    return true;
  }
  bool complete = true;
#pragma omp parallel num_threads(int(threads))
  {
    Buffer buffer(bytes);
#pragma omp for schedule(dynamic, 1)
    for (int64_t unit = 0; unit < units; ++unit) {
      if (buffer.memory) {
        body(unit, buffer.memory);
      } else {
#pragma omp atomic write
        complete = false;
      }
    }
  }
  return complete;
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
