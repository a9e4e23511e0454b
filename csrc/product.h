// Products of small matrices of real or complex numbers: C (+)= A B, vectors along the columns of B and C.
#pragma once

#include "simd.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// Element (i, j) lies at data[i * row + j * column], its imaginary part `imaginary` floats further on.
struct Matrix {
  float *data;
  int64_t row, column, imaginary;
};

constexpr int kRows = TORCHCONV_BYTES == 64 ? 6 : 2, kVectors = 2;  // of the block that is kept in registers

template <bool complex, int rows, int vectors>
void block(Matrix a, Matrix b, Matrix c, int depth, bool add) {
  vec<float> re[rows][vectors], im[rows][vectors];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) {
      re[i][j] = im[i][j] = vec<float>{};
    }
  for (int k = 0; k < depth; ++k) {
    const float *from = b.data + k * b.row;
    vec<float> b_re[vectors], b_im[vectors];
    for (int j = 0; j < vectors; ++j) {
      b_re[j] = load(from + j * kLanes<float>);
      if (complex) b_im[j] = load(from + b.imaginary + j * kLanes<float>);
    }
    for (int i = 0; i < rows; ++i) {
      const float *factor = a.data + i * a.row + k * a.column;
      vec<float> a_re = *factor - vec<float>{}, a_im = complex ? factor[a.imaginary] - vec<float>{} : vec<float>{};
      for (int j = 0; j < vectors; ++j) {
        re[i][j] += a_re * b_re[j];
        if (complex) {
          im[i][j] += a_re * b_im[j];
          re[i][j] -= a_im * b_im[j];
          im[i][j] += a_im * b_re[j];
        }
      }
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) {
      float *to = c.data + i * c.row + j * kLanes<float>;
      store(to, add ? load(to) + re[i][j] : re[i][j]);
      if (complex) store(to + c.imaginary, add ? load(to + c.imaginary) + im[i][j] : im[i][j]);
    }
}

template <bool complex, int rows>
void strip(Matrix a, Matrix b, Matrix c, int columns, int depth, bool add) {
  int j = 0;
  for (; j + kVectors * kLanes<float> <= columns; j += kVectors * kLanes<float>) {
    block<complex, rows, kVectors>(a, b, c, depth, add);
    b.data += kVectors * kLanes<float>;
    c.data += kVectors * kLanes<float>;
  }
  if (j < columns) block<complex, rows, 1>(a, b, c, depth, add);
}

// Up to kRows rows of C; columns is a multiple of the lanes.
template <bool complex>
void few_rows(Matrix a, Matrix b, Matrix c, int rows, int columns, int depth, bool add) {
  switch (rows) {
    case 1: strip<complex, 1>(a, b, c, columns, depth, add); break;
    case 2: strip<complex, 2>(a, b, c, columns, depth, add); break;
#if TORCHCONV_BYTES == 64
    case 3: strip<complex, 3>(a, b, c, columns, depth, add); break;
    case 4: strip<complex, 4>(a, b, c, columns, depth, add); break;
    case 5: strip<complex, 5>(a, b, c, columns, depth, add); break;
    case 6: strip<complex, 6>(a, b, c, columns, depth, add); break;
#endif
  }
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
