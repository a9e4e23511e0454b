// Convolutions by transforms of tiles: the three operations, for many channels and for one kernel per channel.
#include "interface.h"

#include "dense.h"
#include "pointwise.h"
#include "winograd.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

// body(engine) with the engine that the request needs.
template <class Body>
auto with_engine(const Transform &t, const Body &body) {
  if (t.kind == kWinograd) return body(Dense<WinogradTile>(t));
  if (t.ins == 1) return body(Pointwise(t));
  return body(Dense<FourierTile>(t));
}

}  // namespace

int64_t transform_floats(const Transform &t) {
  return with_engine(t, [](const auto &engine) { return engine.points * engine.kernel_pitch(); });
}

int transform_kernels(const Transform &t, const float *weight, float *spectra) {
  return with_engine(t, [&](const auto &engine) { return engine.kernels(weight, spectra); }) ? kDone : kNoMemory;
}

int transform_output(const Transform &t, const float *x, const float *spectra, const float *bias, float *y) {
  return with_engine(t, [&](const auto &engine) { return engine.output(x, spectra, bias, y); });
}

int transform_weight_grad(const Transform &t, const float *x, const float *y, float *weight) {
  return with_engine(t, [&](const auto &engine) { return engine.weight_grad(x, y, weight); });
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
