#include "interface.h"
#include "workspace.h"
using namespace torchconv;
#define EXPORT extern "C" __attribute__((visibility("default")))
static int level = 2;
#define AT_LEVEL(function, ...) \
  (level == 2 ? avx512::function(__VA_ARGS__) \
   : level == 1 ? avx2::function(__VA_ARGS__) : portable::function(__VA_ARGS__))
EXPORT int torchconv_set_level(int l){return level=l;}
EXPORT int64_t torchconv_transform_floats(const Transform *t) { return AT_LEVEL(transform_floats, *t); }
EXPORT int torchconv_transform_kernels(const Transform *t, const float *weight, float *spectra) {
  return AT_LEVEL(transform_kernels, *t, weight, spectra);
}
// The kernels' spectra made, used and forgotten.
EXPORT int torchconv_transform_output(const Transform *t, const float *x, const float *weight, const float *bias, float *y) {
  const int64_t floats = AT_LEVEL(transform_floats, *t);
  float *spectra = static_cast<float *>(workspace(kKernels, size_t(floats) * sizeof(float)));
  int status = spectra ? AT_LEVEL(transform_kernels, *t, weight, spectra) : kNoMemory;
  if (status == kDone) status = AT_LEVEL(transform_output, *t, x, spectra, bias, y);
  tidy_workspace();
  return status;
}
EXPORT int torchconv_transform_apply(const Transform *t, const float *x, const float *spectra, const float *bias, float *y) {
  const int status = AT_LEVEL(transform_output, *t, x, spectra, bias, y);
  tidy_workspace();
  return status;
}
EXPORT int torchconv_transform_weight_grad(const Transform *t, const float *x, const float *y, float *weight) {
  const int status = AT_LEVEL(transform_weight_grad, *t, x, y, weight);
  tidy_workspace();
  return status;
}
