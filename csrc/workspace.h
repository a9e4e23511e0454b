// Large memory that a thread keeps from call to call: to touch new pages costs more than to fill old ones.
#pragma once

#include <cstddef>

namespace torchconv {

enum Room { kSpectra = 0, kKernels = 1, kRooms = 2 };

// Aligned memory of the calling thread, valid until it asks for the same room again; null where there is none left.
void *workspace(Room room, size_t bytes);

// What is larger than a thread should keep is given back.
void tidy_workspace();

}  // namespace torchconv
