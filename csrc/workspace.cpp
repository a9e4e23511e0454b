#include "workspace.h"

#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace torchconv {
namespace {

constexpr size_t kPage = size_t(2) << 20, kMostKept = size_t(64) << 20;

struct Kept {
  void *memory = nullptr;
  size_t bytes = 0;
  ~Kept() { free(memory); }

  void release() {
    free(memory);
    memory = nullptr;
    bytes = 0;
  }
};

thread_local Kept rooms[kRooms];

}  // namespace

void *workspace(Room room, size_t bytes) {
  Kept &kept = rooms[room];
  if (bytes > kept.bytes) {
    kept.release();
    const size_t whole = (bytes + kPage - 1) / kPage * kPage;
    kept.memory = aligned_alloc(kPage, whole);
    if (!kept.memory) return nullptr;
    kept.bytes = whole;
#if defined(__linux__)
    madvise(kept.memory, whole, MADV_HUGEPAGE);
#endif
  }
  return kept.memory;
}

void tidy_workspace() {
  for (Kept &kept : rooms)
    if (kept.bytes > kMostKept) kept.release();
}

}  // namespace torchconv
