// Fourier transforms of lengths 2^a 3^b 5^c, of a vector of signals at once, in Stockham's order: no bit reversal.
#pragma once

#include "fourier_tables.h"
#include "simd.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

struct Complex {
  vec<float> re, im;
};
inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex operator*(float a, Complex b) { return {a * b.re, a * b.im}; }

// b times -i forwards, i backwards.
template <bool inverse>
inline Complex turned(Complex b) {
  return inverse ? Complex{-b.im, b.re} : Complex{b.im, -b.re};
}

template <int radix, bool inverse>
struct Butterfly;

template <bool inverse>
struct Butterfly<2, inverse> {
  static void run(Complex *x) {
    Complex a = x[0];
    x[0] = a + x[1];
    x[1] = a - x[1];
  }
};

template <bool inverse>
struct Butterfly<3, inverse> {
  static void run(Complex *x) {
    Complex sum = x[1] + x[2], side = turned<inverse>(0.866025403784438647f * (x[1] - x[2]));
    Complex middle = x[0] - 0.5f * sum;
    x[0] = x[0] + sum;
    x[1] = middle + side;
    x[2] = middle - side;
  }
};

template <bool inverse>
struct Butterfly<4, inverse> {
  static void run(Complex *x) {
    Complex even = x[0] + x[2], odd = x[1] + x[3];
    Complex a = x[0] - x[2], b = turned<inverse>(x[1] - x[3]);
    x[0] = even + odd;
    x[1] = a + b;
    x[2] = even - odd;
    x[3] = a - b;
  }
};

template <bool inverse>
struct Butterfly<5, inverse> {
  static void run(Complex *x) {
    constexpr float c1 = 0.309016994374947424f, c2 = -0.809016994374947424f;
    constexpr float s1 = 0.951056516295153572f, s2 = 0.587785252292473129f;
    Complex a = x[1] + x[4], b = x[2] + x[3], c = x[1] - x[4], d = x[2] - x[3];
    Complex near = x[0] + c1 * a + c2 * b, far = x[0] + c2 * a + c1 * b;
    Complex steep = turned<inverse>(s1 * c + s2 * d), flat = turned<inverse>(s2 * c - s1 * d);
    x[0] = x[0] + a + b;
    x[1] = near + steep;
    x[4] = near - steep;
    x[2] = far + flat;
    x[3] = far - flat;
  }
};

template <bool inverse>
struct Butterfly<8, inverse> {
  static void run(Complex *x) {
    constexpr float half = 0.707106781186547524f;
    Complex even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
    Butterfly<4, inverse>::run(even);
    Butterfly<4, inverse>::run(odd);
    odd[1] = half * (odd[1] + turned<inverse>(odd[1]));
    odd[2] = turned<inverse>(odd[2]);
    odd[3] = half * (turned<inverse>(odd[3]) - odd[3]);
    for (int i = 0; i < 4; i++) {
      x[i] = even[i] + odd[i];
      x[i + 4] = even[i] - odd[i];
    }
  }
};

// One pass: butterflies over elements `rest` apart, each element being `inner` complex vectors side by side.
template <int radix, bool inverse>
void fourier_pass(const Complex *in, Complex *out, int rest, int inner, const float *twiddles) {
  for (int p = 0; p < rest; p++) {
    const float *turn = twiddles + 2 * (radix - 1) * p;
    for (int q = 0; q < inner; q++) {
      Complex x[radix];
      for (int j = 0; j < radix; j++) x[j] = in[(p + rest * j) * inner + q];
      Butterfly<radix, inverse>::run(x);
      Complex *to = out + radix * p * inner + q;
      to[0] = x[0];
      for (int k = 1; k < radix; k++) {
        if (p == 0) {
          to[k * inner] = x[k];
        } else {
          float c = turn[2 * k - 2], s = inverse ? turn[2 * k - 1] : -turn[2 * k - 1];
          to[k * inner] = {c * x[k].re - s * x[k].im, c * x[k].im + s * x[k].re};
        }
      }
    }
  }
}

// Transforms `length` elements of `batch` vectors each, in `a` with `b` as a second place; returns where they are.
template <bool inverse>
Complex *fourier(const FourierTables &tables, Complex *a, Complex *b, int batch) {
  int inner = batch;
  for (int i = 0; i < tables.count; ++i) {
    const FourierPass &one = tables.passes[i];
    switch (one.radix) {
      case 2: fourier_pass<2, inverse>(a, b, one.rest, inner, one.roots); break;
      case 3: fourier_pass<3, inverse>(a, b, one.rest, inner, one.roots); break;
      case 4: fourier_pass<4, inverse>(a, b, one.rest, inner, one.roots); break;
      case 5: fourier_pass<5, inverse>(a, b, one.rest, inner, one.roots); break;
      default: fourier_pass<8, inverse>(a, b, one.rest, inner, one.roots);
    }
    inner *= one.radix;
    Complex *other = a;
    a = b;
    b = other;
  }
  return a;
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
