// Real two-dimensional transforms of tiles, LANES tiles at once: pixels to points of the spectrum, and back.
//
// A spectrum of ly x lx real samples has ly * lx / 2 + 2 or so points that say everything: columns 0 and lx / 2 belong
// to real signals, so half of each is enough, and they are transformed together as one complex column.
#pragma once

#include <algorithm>

#include "fft.h"

namespace LEVEL {

// Where LANES tiles lie in memory. Their samples are those of rows top..bottom-1 and columns left..right-1; others are
// zeros when read and dropped when written. The window may reach beyond the tile.
struct Window {
  int top, bottom, left, right;
};
struct Lanes {
  float* origin[W];  // of sample (0, 0), wherever that is
  Window window[W];
  bool alike;  // one window for all
  int count;   // lanes in use
  ptrdiff_t row, pixel, lane;
};

// Where points go: point p of the lanes at data + p * point, its imaginary part `imaginary` floats further on.
struct Spectrum {
  float* data;
  ptrdiff_t point, imaginary;
};

class Tile {
 public:
  static constexpr int BATCH = 4;  // rows, or columns, that are transformed side by side

  // Works in `room`, of needed(ly, lx) vectors.
  Tile(int ly, int lx, Vec* room)
      : ly_(ly), lx_(lx), half_(lx / 2), down_(Fourier::of(ly)), along_(Fourier::of(lx / 2)) {
    samples_ = reinterpret_cast<Complex*>(room);
    rows_ = samples_ + ly * half_;
    rows_too_ = rows_ + BATCH * half_;
    columns_ = rows_too_ + BATCH * half_;
    line_ = reinterpret_cast<float*>(columns_ + BATCH * ly);
    zeros_ = line_ + W * padded();
    std::memset(zeros_, 0, sizeof(float) * padded());
  }

  static size_t needed(int ly, int lx) {
    size_t half = lx / 2, padded = (lx + 3) / 4 * 4;
    return 2 * (ly * half + 2 * BATCH * half + BATCH * ly) + padded + padded / W + 1;
  }

  static int points(int ly, int lx) { return 2 * (ly / 2 + 1) + (lx / 2 - 1) * ly; }

  // The transform of what the lanes hold, or its conjugate.
  void analyse(const Lanes& lanes, bool conjugate, Spectrum to) {
    int top = ly_, bottom = 0;
    for (int i = 0; i < lanes.count; i++) {
      top = std::min(top, std::max(lanes.window[i].top, 0));
      bottom = std::max(bottom, std::min(lanes.window[i].bottom, ly_));
    }
    bottom = std::max(top, bottom);
    for (int y = 0; y < ly_; y++)
      if (y < top || y >= bottom) blank(y);
    for (int y = top; y < bottom; y += BATCH) {
      int batch = std::min(BATCH, bottom - y);
      for (int b = 0; b < batch; b++) read(lanes, y + b, rows_ + b, batch);
      untangle(along_.run<false>(rows_, rows_too_, batch), y, batch);
    }
    Vec sign = all(conjugate ? -1.f : 1.f);
    for (int k = 0; k < half_; k += BATCH) {
      int batch = std::min(BATCH, half_ - k);
      Complex* found = down_.run<false>(samples_ + k * ly_, columns_, batch);
      if (k == 0) split(found, batch, sign, to);
      for (int v = 0; v < ly_; v++)
        for (int b = k == 0; b < batch; b++) {
          float* place = to.data + point(k + b, v) * to.point;
          store(place, found[v * batch + b].re);
          store(place + to.imaginary, sign * found[v * batch + b].im);
        }
    }
  }

  // The inverse transform, times `scale`, plus `bias`: its samples from (first_y, first_x) on fill the lanes' windows,
  // which begin at (0, 0).
  void synthesise(Spectrum from, const Lanes& lanes, int first_y, int first_x, float scale, Vec bias) {
    int bottom = 0;
    for (int i = 0; i < lanes.count; i++) bottom = std::max(bottom, lanes.window[i].bottom);
    for (int k = 0; k < half_; k += BATCH) {
      int batch = std::min(BATCH, half_ - k);
      Complex *place = samples_ + k * ly_, *start = down_.passes() % 2 ? columns_ : place;
      if (k == 0) join(from, start, batch);
      for (int v = 0; v < ly_; v++)
        for (int b = k == 0; b < batch; b++) {
          const float* at = from.data + point(k + b, v) * from.point;
          start[v * batch + b] = {load(at), load(at + from.imaginary)};
        }
      down_.run<true>(start, start == place ? columns_ : place, batch);
    }
    for (int y = 0; y < bottom; y += BATCH) {
      int batch = std::min(BATCH, bottom - y);
      tangle(first_y + y, batch, scale);
      Complex* found = along_.run<true>(rows_, rows_too_, batch);
      for (int b = 0; b < batch; b++) write(lanes, y + b, found + b, batch, first_x, bias);
    }
  }

 private:
  int padded() const { return (lx_ + 3) / 4 * 4; }

  // Columns 1 to half - 1 follow columns 0 and half.
  ptrdiff_t point(int k, int v) const { return 2 * (ly_ / 2 + 1) + ptrdiff_t(k - 1) * ly_ + v; }

  // Element k of row y among the samples, which lie in blocks of BATCH columns.
  Complex& sample(int y, int k) {
    int block = k / BATCH * BATCH, batch = std::min(BATCH, half_ - block);
    return samples_[block * ly_ + y * batch + k - block];
  }

  void blank(int y) {
    for (int k = 0; k < half_; k++) sample(y, k) = {Vec{}, Vec{}};
  }

  static void spread(const Vec* quad, int x, int lx, Complex* to, int batch) {
    to[x / 2 * batch] = {quad[0], quad[1]};
    if (x + 2 < lx) to[(x / 2 + 1) * batch] = {quad[2], quad[3]};
  }

  // Row y of all lanes: pairs of samples as complex numbers.
  void read(const Lanes& lanes, int y, Complex* to, int batch) {
    const Window& window = lanes.window[0];
    int left = std::max(window.left, 0), right = std::min(window.right, lx_);
    if (lanes.alike && lanes.lane == 1 && lanes.count == W) {
      const float* from = lanes.origin[0] + y * lanes.row;
      for (int x = 0; x < lx_; x++) {
        Vec value = x >= left && x < right ? load(from + x * lanes.pixel) : Vec{};
        (x % 2 ? to[x / 2 * batch].im : to[x / 2 * batch].re) = value;
      }
      return;
    }
    const float* rows[W];
    for (int i = 0; i < W; i++) rows[i] = i < lanes.count ? line(lanes, i, y) : zeros_;
    for (int x = 0; x < lx_; x += 4) {
      Vec quad[4];
      gather_quads(rows, quad);
      spread(quad, x, lx_, to, batch);
      for (int i = 0; i < W; i++) rows[i] += 4;
    }
  }

  // Row y of one lane: where it lies, or a copy with zeros around what there is.
  const float* line(const Lanes& lanes, int lane, int y) {
    const Window& window = lanes.window[lane];
    if (y < window.top || y >= window.bottom) return zeros_;
    const float* from = lanes.origin[lane] + y * lanes.row;
    if (window.left <= 0 && window.right >= padded() && lanes.pixel == 1) return from;
    float* copy = line_ + lane * padded();
    int left = std::min(std::max(window.left, 0), lx_), right = std::max(std::min(window.right, lx_), left);
    for (int x = 0; x < left; x++) copy[x] = 0;
    if (lanes.pixel == 1) {
      std::memcpy(copy + left, from + left, sizeof(float) * (right - left));
    } else {
      for (int x = left; x < right; x++) copy[x] = from[x * lanes.pixel];
    }
    for (int x = right; x < padded(); x++) copy[x] = 0;
    return copy;
  }

  void write(const Lanes& lanes, int y, const Complex* from, int batch, int first, Vec bias) {
    const Window& window = lanes.window[0];
    auto value = [&](int x) { return (x % 2 ? from[x / 2 * batch].im : from[x / 2 * batch].re) + bias; };
    if (lanes.alike && lanes.lane == 1 && lanes.count == W) {
      float* to = lanes.origin[0] + y * lanes.row;
      for (int x = 0; x < window.right; x++) store(to + x * lanes.pixel, value(first + x));
      return;
    }
    int right = window.right;
    for (int i = 1; i < lanes.count; i++) right = std::max(right, lanes.window[i].right);
    for (int x = 0; x < right; x += 4) {
      Vec quad[4];
      for (int i = 0; i < 4; i++) quad[i] = x + i < right ? value(first + x + i) : Vec{};
      float* rows[W];
      for (int i = 0; i < W; i++) {
        const Window& own = lanes.window[i];
        bool whole = i < lanes.count && lanes.pixel == 1 && y < own.bottom && x + 4 <= own.right;
        rows[i] = whole ? lanes.origin[i] + y * lanes.row + x : line_ + 4 * i;
      }
      scatter_quads(quad, rows);
      for (int i = 0; i < lanes.count; i++) {
        const Window& own = lanes.window[i];
        if (rows[i] != line_ + 4 * i || y >= own.bottom) continue;
        for (int at = x; at < std::min(x + 4, own.right); at++)
          lanes.origin[i][y * lanes.row + at * lanes.pixel] = rows[i][at - x];
      }
    }
  }

  // From the transform of pairs to that of the row: columns 0 and half as one complex number, then the others.
  void untangle(const Complex* z, int y, int batch) {
    const float* turn = along_.real_twiddles();
    for (int b = 0; b < batch; b++) sample(y + b, 0) = {z[b].re + z[b].im, z[b].re - z[b].im};
    for (int k = 1; k < half_; k++) {
      float c = turn[2 * k], s = turn[2 * k + 1];
      Complex* to = &sample(y, k);
      int step = std::min(BATCH, half_ - k / BATCH * BATCH);
      for (int b = 0; b < batch; b++) {
        Complex p = z[k * batch + b], q = z[(half_ - k) * batch + b];
        Vec even_re = 0.5f * (p.re + q.re), even_im = 0.5f * (p.im - q.im);
        Vec odd_re = 0.5f * (p.im + q.im), odd_im = 0.5f * (q.re - p.re);
        to[b * step] = {even_re + c * odd_re + s * odd_im, even_im + c * odd_im - s * odd_re};
      }
    }
  }

  void tangle(int y, int batch, float scale) {
    const float* turn = along_.real_twiddles();
    for (int b = 0; b < batch; b++) {
      Complex ends = sample(y + b, 0);
      rows_[b] = {scale * (ends.re + ends.im), scale * (ends.re - ends.im)};
    }
    for (int k = 1; k < half_; k++) {
      float c = turn[2 * k], s = turn[2 * k + 1];
      const Complex *up = &sample(y, k), *back = &sample(y, half_ - k);
      int step = std::min(BATCH, half_ - k / BATCH * BATCH);
      int back_step = std::min(BATCH, half_ - (half_ - k) / BATCH * BATCH);
      for (int b = 0; b < batch; b++) {
        Complex p = up[b * step], q = back[b * back_step];
        Vec even_re = p.re + q.re, even_im = p.im - q.im, turned_re = p.re - q.re, turned_im = p.im + q.im;
        Vec odd_re = c * turned_re - s * turned_im, odd_im = c * turned_im + s * turned_re;
        rows_[k * batch + b] = {scale * (even_re - odd_im), scale * (even_im + odd_re)};
      }
    }
  }

  // The transforms of two real columns, which were transformed as one complex column.
  void split(const Complex* z, int batch, Vec sign, Spectrum to) {
    int each = ly_ / 2 + 1;
    for (int v = 0; v < each; v++) {
      Complex p = z[v * batch], q = z[(v ? ly_ - v : 0) * batch];
      float *first = to.data + v * to.point, *second = first + each * to.point;
      store(first, 0.5f * (p.re + q.re));
      store(first + to.imaginary, sign * 0.5f * (p.im - q.im));
      store(second, 0.5f * (p.im + q.im));
      store(second + to.imaginary, sign * 0.5f * (q.re - p.re));
    }
  }

  void join(Spectrum from, Complex* z, int batch) {
    int each = ly_ / 2 + 1;
    for (int v = 0; v < each; v++) {
      const float *first = from.data + v * from.point, *second = first + each * from.point;
      Vec a_re = load(first), a_im = load(first + from.imaginary);
      Vec b_re = load(second), b_im = load(second + from.imaginary);
      if (v) z[(ly_ - v) * batch] = {a_re + b_im, b_re - a_im};
      z[v * batch] = {a_re - b_im, a_im + b_re};
    }
  }

  int ly_, lx_, half_;
  const Fourier &down_, &along_;
  Complex *samples_, *rows_, *rows_too_, *columns_;
  float *line_, *zeros_;
};

}  // namespace LEVEL
