// The C interface. Change kInterface, and INTERFACE in compute/native/loader.py, whenever a function or a struct changes.
#pragma once

#include <cstdint>

namespace torchconv {

constexpr int64_t kInterface = 6;

enum Type : int64_t { kFloat32 = 0, kFloat64 = 1, kBfloat16 = 2 };

// What every kernel answers.
enum Status : int { kDone = 0, kNoMemory = 1, kUnknownType = 2 };

// A depthwise convolution in two dimensions; arrays are contiguous:
// x (batch, channels, height, width), y (batch, channels * multiplier, out_height, out_width),
// weight (channels * multiplier, kernel_height, kernel_width).
struct Depthwise {
  int64_t type, threads, batch, channels, multiplier;
  int64_t height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, top, left;
};

enum TransformKind : int64_t { kFourier = 0, kWinograd = 1 };

// A correlation with steps of 1 of float32 arrays, x (batch, groups * ins, height, width) with y (batch, groups * outs,
// out_height, out_width), whose strides are in floats; weight (groups * outs, ins, kernel_height, kernel_width) is
// contiguous. With `adjoint`, the map back: x is its argument, a gradient of what y then is the size of, `outs` its
// channels, and weight (groups * ins, outs, ...).
struct Transform {
  int64_t kind, threads, batch, groups, ins, outs;
  int64_t height, width, out_height, out_width, kernel_height, kernel_width, top, left;  // top, left: padding of the map
  int64_t length_height, length_width;  // samples of a tile; Winograd's are 6 both, with kernels of 3 x 3
  int64_t adjoint;
  int64_t room;  // bytes for the spectra of tiles, if one tile fits
  int64_t x_strides[4], y_strides[4];
};

// A convolution whose every output position has a kernel of its own, in three dimensions; arrays are contiguous:
// x (batch, groups * in, *size), y (batch, groups * out, *outputs), weight (*outputs, groups * out, in, *kernel).
// low: zeros before the first sample of each axis, of which negative ones cut samples off.
struct Local {
  int64_t type, threads, batch, groups, in, out;
  int64_t size[3], outputs[3], kernel[3], stride[3], dilation[3], low[3];
};

// The same where output p uses kernel p % period on each axis: weight (*period, groups * out, in, *kernel).
struct Tiled : Local {
  int64_t period[3];
};

// Windows over planes of three axes; arrays are contiguous: x (planes, *size), y (planes, *outputs). Output p reads sample
// p * stride + tap * dilation - low of each axis, if there is one. power: 1 to 4, roots of sums of powers of |x|; 0: sums.
// A weight is a product of factors, one for each tap of each axis, and so is the number that an output is multiplied with;
// where `beside` is not 0 there is one number for each tap, and each output, and planes are computed side by side.
struct Pooling {
  int64_t type, threads, planes, power, beside;
  int64_t size[3], outputs[3], kernel[3], stride[3], dilation[3], low[3];
};

// Pairs of places at most `radius` steps of `dilation` samples apart on each axis; arrays are contiguous: x (batch, channels,
// *size), what belongs to pairs (batch, taps, *size), where the taps are the later half of a window's, and a pair lies at
// the earlier of its places. Numbers are float32 or float64.
struct Pairs {
  int64_t type, threads, batch, channels;
  int64_t size[3], radius[3], dilation[3];
};

// The functions of one instruction set; the families define them in its namespace.
#define TORCHCONV_DECLARE(level)                                                                                     \
  namespace level {                                                                                                  \
  int64_t number(const char *name);                                                                                  \
  int depthwise_output(const Depthwise &, const void *x, const void *weight, void *y);                               \
  int depthwise_input_grad(const Depthwise &, const void *grad, const void *weight, void *x);                        \
  int depthwise_weight_grad(const Depthwise &, const void *x, const void *grad, void *weight);                       \
  int64_t transform_floats(const Transform &);                                                                       \
  int transform_kernels(const Transform &, const float *weight, float *spectra);                                     \
  int transform_output(const Transform &, const float *x, const float *spectra, const float *bias, float *y);        \
  int transform_weight_grad(const Transform &, const float *x, const float *grad, float *weight);                    \
  int pool_sum(const Pooling &, const void *x, const double *weights, const double *scales, void *y);                \
  int pool_sum_grad(const Pooling &, const void *grad, const double *weights, const double *scales,                  \
                    const void *base, void *x);                                                                      \
  int pool_max(const Pooling &, const void *x, const double *weights, const double *scales, void *y);                \
  int pool_max_grad(const Pooling &, const void *grad, const void *x, const void *y, void *to);                      \
  int planes_sum(const Pooling &, const void *x, const double *weights, const double *scales, void *y);              \
  int planes_sum_grad(const Pooling &, const void *grad, const double *weights, const double *scales,                \
                      const void *base, void *x);                                                                    \
  int planes_max(const Pooling &, const void *x, void *y);                                                           \
  int planes_max_grad(const Pooling &, const void *grad, const void *x, const void *y, void *to);                    \
  int tiled_output(const Tiled &, const void *x, const void *weight, void *y);                                       \
  int tiled_input(const Tiled &, const void *grad, const void *weight, void *x);                                     \
  int tiled_weight(const Tiled &, const void *x, const void *grad, void *weight);                                    \
  int pair_messages(const Pairs &, const void *weights, const void *x, void *y);                                     \
  int pair_products(const Pairs &, const void *a, const void *b, void *to);                                          \
  int pair_distances(const Pairs &, const void *x, void *to);                                                        \
  int unshared_output(const Local &, const void *x, const void *weight, void *y);                                    \
  int unshared_input(const Local &, const void *grad, const void *weight, void *x);                                  \
  int unshared_weight(const Local &, const void *x, const void *grad, void *weight);                                 \
  }
TORCHCONV_DECLARE(portable)
TORCHCONV_DECLARE(avx2)
TORCHCONV_DECLARE(avx512)

}  // namespace torchconv
