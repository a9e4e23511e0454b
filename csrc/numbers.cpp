// What Python knows of the kernels' constants, kinds and structs, by name: asked, not copied.
#include "interface.h"
#include "machine.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

struct Number {
  const char *name;
  int64_t value;
};

constexpr Number kNumbers[] = {
    {"strip bytes", kStripBytes},
    {"unit bytes", kUnitBytes},
    {"tile bytes", kTileBytes},
    {"cached bytes", kCached},
    {"shortest run", kShortestRun},
    {"block", kBlock},
    {"units", kUnits},
    {"lines", kLines},
    {"shares", kShares},
    {"float32", kFloat32},
    {"float64", kFloat64},
    {"bfloat16", kBfloat16},
    {"no memory", kNoMemory},
    {"unknown type", kUnknownType},
    {"fourier", kFourier},
    {"winograd", kWinograd},
    {"sizeof Depthwise", sizeof(Depthwise)},
    {"sizeof Transform", sizeof(Transform)},
    {"sizeof Local", sizeof(Local)},
    {"sizeof Tiled", sizeof(Tiled)},
    {"sizeof Pooling", sizeof(Pooling)},
    {"sizeof Pairs", sizeof(Pairs)},
};

bool same(const char *one, const char *other) {
  while (*one && *one == *other) ++one, ++other;
  return *one == *other;
}

}  // namespace

int64_t number(const char *name) {
  for (const Number &known : kNumbers)
    if (same(known.name, name)) return known.value;
  return -1;
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
