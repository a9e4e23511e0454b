// What is asked of the transforms, in plain C.
#pragma once

#include <cstdint>

extern "C" {

// A correlation with steps of 1, cut into tiles. Strides are in floats: image, channel, row, pixel.
struct TransformJob {
  int64_t batch, groups, ins, outs;    // channels of one group
  int64_t size_y, size_x, x[4];        // the input
  int64_t out_y, out_x, y[4];          // the output
  int64_t length_y, length_x;          // samples of a tile
  int64_t step_y, step_x;              // outputs of a tile
  int64_t start_y, start_x;            // where the first tile begins in the input; zeros lie around it
  int64_t first_y, first_x;            // the first sample of the product that is an output
  int64_t room;                        // bytes for spectra, at least those of one tile
  int64_t threads;
};

// Kernels as matrices: element (group, row, column) lies at the sum of its strides.
struct KernelJob {
  int64_t groups, rows, columns;
  int64_t group_stride, row_stride, column_stride, kernel_stride[2];
  int64_t kernel_y, kernel_x, length_y, length_x;
  int64_t conjugate, threads;
};
}
