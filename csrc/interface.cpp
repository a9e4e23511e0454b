// What Python calls: the choice of the instruction set, the count of threads, and each kernel's C function.
#include "interface.h"

#include <pthread.h>

#include "workspace.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace torchconv {
namespace {

enum Level : int { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

int best_level() {
#ifdef TORCHCONV_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2;
#endif
  return kPortable;
}

int level = best_level();
bool forked = false;  // a child of fork has none of its parent's OpenMP threads, and would wait for them for ever

struct AtFork {
  AtFork() {
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
  }
} at_fork;

template <class Problem>
Problem here(const Problem *given) {
  Problem problem = *given;
  if (forked) problem.threads = 1;
  return problem;
}

}  // namespace
}  // namespace torchconv

using namespace torchconv;

#ifdef TORCHCONV_X86
#define AT_LEVEL(function, ...) \
  (level == kAvx512 ? avx512::function(__VA_ARGS__) \
   : level == kAvx2 ? avx2::function(__VA_ARGS__) : portable::function(__VA_ARGS__))
#else
#define AT_LEVEL(function, ...) portable::function(__VA_ARGS__)
#endif

EXPORT int64_t torchconv_interface() { return kInterface; }

// A constant of the kernels in use, or the size of a struct, by its name in numbers.cpp; -1 for an unknown one.
EXPORT int64_t torchconv_number(const char *name) { return AT_LEVEL(number, name); }

EXPORT int torchconv_level() { return level; }

EXPORT int torchconv_best_level() { return best_level(); }

// The level asked for, or the best there is where the processor lacks it.
EXPORT int torchconv_set_level(int wanted) {
  const int best = best_level();
  return level = wanted < kPortable ? kPortable : wanted > best ? best : wanted;
}

EXPORT int torchconv_depthwise_output(const Depthwise *problem, const void *x, const void *weight, void *y) {
  return AT_LEVEL(depthwise_output, here(problem), x, weight, y);
}

EXPORT int torchconv_depthwise_input_grad(const Depthwise *problem, const void *grad, const void *weight, void *x) {
  return AT_LEVEL(depthwise_input_grad, here(problem), grad, weight, x);
}

EXPORT int torchconv_depthwise_weight_grad(const Depthwise *problem, const void *x, const void *grad, void *weight) {
  return AT_LEVEL(depthwise_weight_grad, here(problem), x, grad, weight);
}

// Floats of the kernels' spectra.
EXPORT int64_t torchconv_transform_floats(const Transform *problem) {
  return AT_LEVEL(transform_floats, here(problem));
}

EXPORT int torchconv_transform_kernels(const Transform *problem, const float *weight, float *spectra) {
  return AT_LEVEL(transform_kernels, here(problem), weight, spectra);
}

// bias may be null.
EXPORT int torchconv_transform_apply(const Transform *problem, const float *x, const float *spectra, const float *bias,
                                     float *y) {
  const int status = AT_LEVEL(transform_output, here(problem), x, spectra, bias, y);
  tidy_workspace();
  return status;
}

// The same with kernels' spectra that are made, used and forgotten.
EXPORT int torchconv_transform_output(const Transform *problem, const float *x, const float *weight, const float *bias,
                                      float *y) {
  const size_t bytes = size_t(torchconv_transform_floats(problem)) * sizeof(float);
  float *spectra = static_cast<float *>(workspace(kKernels, bytes));
  if (!spectra) return kNoMemory;
  const int status = torchconv_transform_kernels(problem, weight, spectra);
  return status == kDone ? torchconv_transform_apply(problem, x, spectra, bias, y) : status;
}

EXPORT int torchconv_transform_weight_grad(const Transform *problem, const float *x, const float *y, float *weight) {
  const int status = AT_LEVEL(transform_weight_grad, here(problem), x, y, weight);
  tidy_workspace();
  return status;
}

EXPORT int torchconv_unshared_output(const Local *problem, const void *x, const void *weight, void *y) {
  return AT_LEVEL(unshared_output, here(problem), x, weight, y);
}

// The gradient of x, added to the zeros that it holds; in float where the other numbers are bfloat16.
EXPORT int torchconv_unshared_input(const Local *problem, const void *grad, const void *weight, void *x) {
  return AT_LEVEL(unshared_input, here(problem), grad, weight, x);
}

EXPORT int torchconv_unshared_weight(const Local *problem, const void *x, const void *grad, void *weight) {
  return AT_LEVEL(unshared_weight, here(problem), x, grad, weight);
}

EXPORT int torchconv_tiled_output(const Tiled *problem, const void *x, const void *weight, void *y) {
  return AT_LEVEL(tiled_output, here(problem), x, weight, y);
}

EXPORT int torchconv_tiled_input(const Tiled *problem, const void *grad, const void *weight, void *x) {
  return AT_LEVEL(tiled_input, here(problem), grad, weight, x);
}

EXPORT int torchconv_tiled_weight(const Tiled *problem, const void *x, const void *grad, void *weight) {
  return AT_LEVEL(tiled_weight, here(problem), x, grad, weight);
}

namespace {

int sum_grad(const Pooling *problem, const void *grad, const double *weights, const double *scales, const void *base,
             void *x) {
  if (problem->beside) return AT_LEVEL(planes_sum_grad, here(problem), grad, weights, scales, base, x);
  return AT_LEVEL(pool_sum_grad, here(problem), grad, weights, scales, base, x);
}

}  // namespace

EXPORT int torchconv_pool_sum(const Pooling *problem, const void *x, const double *weights, const double *scales, void *y) {
  if (problem->beside) return AT_LEVEL(planes_sum, here(problem), x, weights, scales, y);
  return AT_LEVEL(pool_sum, here(problem), x, weights, scales, y);
}

EXPORT int torchconv_pool_spread(const Pooling *problem, const void *grad, const double *weights, const double *scales,
                                 void *x) {
  return sum_grad(problem, grad, weights, scales, nullptr, x);
}

// base: numbers by the slope of whose power the gradient is multiplied.
EXPORT int torchconv_pool_sum_grad(const Pooling *problem, const void *grad, const double *weights, const double *scales,
                                   const void *base, void *x) {
  return sum_grad(problem, grad, weights, scales, base, x);
}

EXPORT int torchconv_pool_max(const Pooling *problem, const void *x, const double *weights, const double *scales, void *y) {
  if (problem->beside) return AT_LEVEL(planes_max, here(problem), x, y);
  return AT_LEVEL(pool_max, here(problem), x, weights, scales, y);
}

EXPORT int torchconv_pool_max_grad(const Pooling *problem, const void *grad, const void *x, const void *y, void *to) {
  if (problem->beside) return AT_LEVEL(planes_max_grad, here(problem), grad, x, y, to);
  return AT_LEVEL(pool_max_grad, here(problem), grad, x, y, to);
}

// To every place the sum over its pairs of weight times the other place's numbers.
EXPORT int torchconv_pair_messages(const Pairs *problem, const void *weights, const void *x, void *y) {
  return AT_LEVEL(pair_messages, here(problem), weights, x, y);
}

// For every pair the sum over channels of a at one place times b at the other, both ways; zero where there is no pair.
EXPORT int torchconv_pair_products(const Pairs *problem, const void *a, const void *b, void *to) {
  return AT_LEVEL(pair_products, here(problem), a, b, to);
}

// For every pair the squared distance of its places' numbers; zero where there is no pair.
EXPORT int torchconv_pair_distances(const Pairs *problem, const void *x, void *to) {
  return AT_LEVEL(pair_distances, here(problem), x, to);
}
