// Real two-dimensional Fourier transforms of tiles, one in each lane: samples to points of the spectrum, and back.
//
// The spectrum of height x width real samples has about height * width / 2 points that say everything. Columns 0 and
// width / 2 of it belong to real signals: half of each is enough, and the two are transformed as one complex column.
#pragma once

#include "fourier.h"
#include "lanes.h"
#include "machine.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

class FourierTile {
 public:
  static constexpr int kParts = 2, kRun = 1;  // real and imaginary; tiles of one unit of work

  struct Plan {
    int64_t height, width, kernel_height, kernel_width;
    bool adjoint;  // the products are convolutions, not correlations: outputs begin at the kernel's last sample
    const FourierTables *down, *along;

    explicit Plan(const Transform &t)
        : height(t.length_height), width(t.length_width), kernel_height(t.kernel_height), kernel_width(t.kernel_width),
          adjoint(t.adjoint), down(&fourier_tables(int(height))), along(&fourier_tables(int(width / 2))) {}
    int64_t points() const { return 2 * (height / 2 + 1) + (width / 2 - 1) * height; }
    size_t bytes() const {
      const int64_t numbers = height * (width / 2) + 2 * kBatch * (width / 2) + kBatch * height;
      return size_t(numbers) * sizeof(Complex) + size_t(Lines::floats(width)) * sizeof(float);
    }
  };

  FourierTile(const Plan &plan, void *memory)
      : plan_(plan), half_(int(plan.width / 2)), height_(int(plan.height)),
        samples_(static_cast<Complex *>(memory)), rows_(samples_ + height_ * half_), spare_(rows_ + kBatch * half_),
        columns_(spare_ + kBatch * half_), lines_(plan.width, reinterpret_cast<float *>(columns_ + kBatch * height_)) {}

  void input(const Lanes &lanes, Spectrum to) { analyse(lanes, 1, to); }
  void kernel(const Lanes &lanes, Spectrum to) { analyse(lanes, plan_.adjoint ? 1.f : -1.f, to); }
  void gradient(const Lanes &lanes, Spectrum to) { analyse(lanes, -1, to); }
  void output(Spectrum from, const Lanes &lanes, vec<float> bias) {
    synthesise(from, lanes, plan_.adjoint ? plan_.kernel_height - 1 : 0, plan_.adjoint ? plan_.kernel_width - 1 : 0, bias);
  }
  void weight(Spectrum from, const Lanes &lanes) { synthesise(from, lanes, 0, 0, vec<float>{}); }

 private:
  static constexpr int kBatch = kLines;

  static int less(int a, int b) { return a < b ? a : b; }
  // Columns lie in blocks of kBatch, the last of which may be narrower.
  int columns_from(int k) const { return less(kBatch, half_ - k / kBatch * kBatch); }
  Complex &sample(int y, int k) { return samples_[k / kBatch * kBatch * height_ + y * columns_from(k) + k % kBatch]; }
  // Columns 0 and half come first.
  int64_t point(int k, int v) const { return 2 * (height_ / 2 + 1) + int64_t(k - 1) * height_ + v; }

  // sign: 1, or -1 for the conjugate.
  void analyse(const Lanes &lanes, float sign, Spectrum to) {
    int64_t top = height_, bottom = 0;
    for (int64_t lane = 0; lane < (lanes.lane ? 1 : lanes.count); ++lane) {
      top = smaller(top, larger(lanes.window[lane].top, 0));
      bottom = larger(bottom, smaller(lanes.window[lane].bottom, height_));
    }
    for (int y = 0; y < height_; ++y)
      if (y < top || y >= bottom)
        for (int k = 0; k < half_; ++k) sample(y, k) = {vec<float>{}, vec<float>{}};
    for (int y = int(top); y < bottom; y += kBatch) {
      const int batch = less(kBatch, int(bottom) - y);
      for (int b = 0; b < batch; ++b) lines_.read(lanes, y + b, &rows_[b].re, 2 * batch);
      untangle(fourier<false>(*plan_.along, rows_, spare_, batch), y, batch);
    }
    for (int k = 0; k < half_; k += kBatch) {
      const int batch = columns_from(k);
      const Complex *found = fourier<false>(*plan_.down, samples_ + k * height_, columns_, batch);
      if (k == 0) split(found, batch, sign, to);
      for (int b = k == 0; b < batch; ++b) {
        float *place = to.data + point(k + b, 0) * to.point;
        for (int v = 0; v < height_; ++v, place += to.point) {
          store(place, found[v * batch + b].re);
          store(place + to.imaginary, sign * found[v * batch + b].im);
        }
      }
    }
  }

  // The inverse transform: its samples from (top, left) on fill the lanes' windows, which begin at (0, 0).
  void synthesise(Spectrum from, const Lanes &lanes, int64_t top, int64_t left, vec<float> bias) {
    const float scale = 1.f / (float(plan_.height) * float(plan_.width));
    int64_t bottom = 0;
    for (int64_t lane = 0; lane < lanes.count; ++lane) bottom = larger(bottom, lanes.window[lane].bottom);
    for (int k = 0; k < half_; k += kBatch) {
      const int batch = columns_from(k);
      Complex *place = samples_ + k * height_, *start = plan_.down->count % 2 ? columns_ : place;
      if (k == 0) join(from, start, batch);
      for (int b = k == 0; b < batch; ++b) {
        const float *at = from.data + point(k + b, 0) * from.point;
        for (int v = 0; v < height_; ++v, at += from.point) start[v * batch + b] = {load(at), load(at + from.imaginary)};
      }
      fourier<true>(*plan_.down, start, start == place ? columns_ : place, batch);
    }
    for (int y = 0; y < bottom; y += kBatch) {
      const int batch = less(kBatch, int(bottom) - y);
      tangle(int(top) + y, batch, scale);
      const Complex *found = fourier<true>(*plan_.along, rows_, spare_, batch);
      for (int b = 0; b < batch; ++b) lines_.write(lanes, y + b, &found[b].re, 2 * batch, left, bias);
    }
  }

  // From the transform of pairs of samples to that of the row: columns 0 and half as one number, then the others.
  void untangle(const Complex *z, int y, int batch) {
    for (int b = 0; b < batch; ++b) sample(y + b, 0) = {z[b].re + z[b].im, z[b].re - z[b].im};
    for (int k = 1; k < half_; ++k) {
      const float c = plan_.along->halves[2 * k], s = plan_.along->halves[2 * k + 1];
      Complex *to = &sample(y, k);
      const int step = columns_from(k);
      for (int b = 0; b < batch; ++b) {
        const Complex p = z[k * batch + b], q = z[(half_ - k) * batch + b];
        const Complex even{0.5f * (p.re + q.re), 0.5f * (p.im - q.im)}, odd{0.5f * (p.im + q.im), 0.5f * (q.re - p.re)};
        to[b * step] = {even.re + c * odd.re + s * odd.im, even.im + c * odd.im - s * odd.re};
      }
    }
  }

  void tangle(int y, int batch, float scale) {
    for (int b = 0; b < batch; ++b) {
      const Complex ends = sample(y + b, 0);
      rows_[b] = {scale * (ends.re + ends.im), scale * (ends.re - ends.im)};
    }
    for (int k = 1; k < half_; ++k) {
      const float c = plan_.along->halves[2 * k], s = plan_.along->halves[2 * k + 1];
      const Complex *up = &sample(y, k), *back = &sample(y, half_ - k);
      const int step = columns_from(k), back_step = columns_from(half_ - k);
      for (int b = 0; b < batch; ++b) {
        const Complex p = up[b * step], q = back[b * back_step];
        const Complex even{p.re + q.re, p.im - q.im}, turned{p.re - q.re, p.im + q.im};
        const Complex odd{c * turned.re - s * turned.im, c * turned.im + s * turned.re};
        rows_[k * batch + b] = {scale * (even.re - odd.im), scale * (even.im + odd.re)};
      }
    }
  }

  // The transforms of two real columns, which were transformed as one complex column; and back.
  void split(const Complex *z, int batch, float sign, Spectrum to) {
    const int each = height_ / 2 + 1;
    for (int v = 0; v < each; ++v) {
      const Complex p = z[v * batch], q = z[(v ? height_ - v : 0) * batch];
      float *first = to.data + v * to.point, *second = first + each * to.point;
      store(first, 0.5f * (p.re + q.re));
      store(first + to.imaginary, sign * 0.5f * (p.im - q.im));
      store(second, 0.5f * (p.im + q.im));
      store(second + to.imaginary, sign * 0.5f * (q.re - p.re));
    }
  }

  void join(Spectrum from, Complex *z, int batch) {
    const int each = height_ / 2 + 1;
    for (int v = 0; v < each; ++v) {
      const float *first = from.data + v * from.point, *second = first + each * from.point;
      const Complex a{load(first), load(first + from.imaginary)}, b{load(second), load(second + from.imaginary)};
      if (v) z[(height_ - v) * batch] = {a.re + b.im, b.re - a.im};
      z[v * batch] = {a.re - b.im, a.im + b.re};
    }
  }

  const Plan &plan_;
  int half_, height_;
  Complex *samples_, *rows_, *spare_, *columns_;
  Lines lines_;
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
