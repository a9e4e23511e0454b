// Products of small matrices of real or complex numbers: C (+)= A B, vectors along the columns of B and C.
#pragma once

#include "vectors.h"

namespace LEVEL {

// Element (i, j) lies at data[i * row + j * column], its imaginary part `imaginary` floats further on.
struct Matrix {
  float* data;
  ptrdiff_t row, column, imaginary;
};

constexpr int ROWS = LANES == 16 ? 6 : 2, VECTORS = 2;  // of the block that is kept in registers

template <bool complex, int rows, int vectors>
void block(Matrix a, Matrix b, Matrix c, int depth, bool add) {
  Vec re[rows][vectors], im[rows][vectors];
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < vectors; j++) {
      const float* from = c.data + i * c.row + j * W;
      re[i][j] = add ? load(from) : Vec{};
      im[i][j] = complex && add ? load(from + c.imaginary) : Vec{};
    }
  for (int k = 0; k < depth; k++) {
    const float* from = b.data + k * b.row;
    Vec b_re[vectors], b_im[vectors];
    for (int j = 0; j < vectors; j++) {
      b_re[j] = load(from + j * W);
      if (complex) b_im[j] = load(from + b.imaginary + j * W);
    }
    for (int i = 0; i < rows; i++) {
      const float* factor = a.data + i * a.row + k * a.column;
      Vec a_re = all(*factor), a_im = complex ? all(factor[a.imaginary]) : Vec{};
      for (int j = 0; j < vectors; j++) {
        re[i][j] += a_re * b_re[j];
        if (complex) {
          im[i][j] += a_re * b_im[j];
          re[i][j] -= a_im * b_im[j];
          im[i][j] += a_im * b_re[j];
        }
      }
    }
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < vectors; j++) {
      float* to = c.data + i * c.row + j * W;
      store(to, re[i][j]);
      if (complex) store(to + c.imaginary, im[i][j]);
    }
}

template <bool complex, int rows>
void strip(Matrix a, Matrix b, Matrix c, int columns, int depth, bool add) {
  int j = 0;
  for (; j + VECTORS * W <= columns; j += VECTORS * W) {
    block<complex, rows, VECTORS>(a, b, c, depth, add);
    b.data += VECTORS * W;
    c.data += VECTORS * W;
  }
  if (j < columns) block<complex, rows, 1>(a, b, c, depth, add);
}

// Up to ROWS rows of C; columns is a multiple of W.
template <bool complex>
void few_rows(Matrix a, Matrix b, Matrix c, int rows, int columns, int depth, bool add) {
  switch (rows) {
    case 1: strip<complex, 1>(a, b, c, columns, depth, add); break;
    case 2: strip<complex, 2>(a, b, c, columns, depth, add); break;
#if LANES == 16
    case 3: strip<complex, 3>(a, b, c, columns, depth, add); break;
    case 4: strip<complex, 4>(a, b, c, columns, depth, add); break;
    case 5: strip<complex, 5>(a, b, c, columns, depth, add); break;
    case 6: strip<complex, 6>(a, b, c, columns, depth, add); break;
#endif
  }
}

}  // namespace LEVEL
