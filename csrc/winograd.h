// Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray 2016, arXiv:1509.09308): tiles of 6 x 6, real points.
#pragma once

#include "interface.h"
#include "lanes.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// The paper's B' of samples, G of kernels and A' of outputs along one axis, and the transposes that gradients need. Its
// points 0, 1, -1, 2, -2 give errors five times as large as 0, a, -a, b, -b do.
struct Filter {
  typedef vec<float> V;
  static constexpr int kLength = 6, kOutputs = 4;
  static constexpr float a = 0.6875f, b = 1.5f, aa = a * a, bb = b * b;
  static constexpr float at_0 = 1 / (aa * bb), at_a = 1 / (2 * aa * (aa - bb)), at_b = 1 / (2 * bb * (bb - aa));

  static void samples(const V *d, V *to) {
    const V even_a = d[4] - bb * d[2], odd_a = a * (d[3] - bb * d[1]);
    const V even_b = d[4] - aa * d[2], odd_b = b * (d[3] - aa * d[1]);
    to[0] = aa * bb * d[0] - (aa + bb) * d[2] + d[4];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = aa * bb * d[1] - (aa + bb) * d[3] + d[5];
  }
  static void kernel(const V *g, V *to) {
    const V even_a = at_a * (g[0] + aa * g[2]), odd_a = at_a * a * g[1];
    const V even_b = at_b * (g[0] + bb * g[2]), odd_b = at_b * b * g[1];
    to[0] = at_0 * g[0];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = g[2];
  }
  static void outputs(const V *m, V *to) {
    const V even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    to[0] = m[0] + even_a + even_b;
    to[1] = a * odd_a + b * odd_b;
    to[2] = aa * even_a + bb * even_b;
    to[3] = a * aa * odd_a + b * bb * odd_b + m[5];
  }
  static void gradient(const V *y, V *to) {
    const V even_a = y[0] + aa * y[2], odd_a = a * (y[1] + aa * y[3]);
    const V even_b = y[0] + bb * y[2], odd_b = b * (y[1] + bb * y[3]);
    to[0] = y[0];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = y[3];
  }
  static void weight(const V *u, V *to) {
    const V even_a = at_a * (u[1] + u[2]), odd_a = at_a * a * (u[1] - u[2]);
    const V even_b = at_b * (u[3] + u[4]), odd_b = at_b * b * (u[3] - u[4]);
    to[0] = at_0 * u[0] + even_a + even_b;
    to[1] = odd_a + odd_b;
    to[2] = aa * even_a + bb * even_b + u[5];
  }
};

class WinogradTile {
  typedef vec<float> V;
  static constexpr int kLength = Filter::kLength, kOutputs = Filter::kOutputs;

 public:
  static constexpr int kParts = 1, kRun = 14;  // tiles side by side, which share cache lines

  struct Plan {
    bool adjoint;
    explicit Plan(const Transform &t) : adjoint(t.adjoint) {}
    int64_t points() const { return kLength * kLength; }
    size_t bytes() const { return size_t(Lines::floats(kLength)) * sizeof(float); }
  };

  WinogradTile(const Plan &plan, void *memory) : plan_(plan), lines_(kLength, static_cast<float *>(memory)) {}

  void input(const Lanes &lanes, Spectrum to) { analyse<kLength, Filter::samples>(lanes, to); }
  void gradient(const Lanes &lanes, Spectrum to) { analyse<kOutputs, Filter::gradient>(lanes, to); }
  void kernel(const Lanes &lanes, Spectrum to) { analyse<3, Filter::kernel>(lanes, to, plan_.adjoint); }
  void output(Spectrum from, const Lanes &lanes, V bias) { synthesise<kOutputs, Filter::outputs>(from, lanes, bias); }
  void weight(Spectrum from, const Lanes &lanes) { synthesise<3, Filter::weight>(from, lanes, V{}); }

 private:
  // Along the rows, then down the columns.
  template <int size, void (*along)(const V *, V *)>
  void analyse(const Lanes &lanes, Spectrum to, bool turned = false) {
    V rows[size][kLength];
    for (int y = 0; y < size; ++y) {
      V row[8], flipped[size];
      lines_.read(lanes, turned ? size - 1 - y : y, row, 2);
      for (int x = 0; turned && x < size; ++x) flipped[x] = row[size - 1 - x];
      along(turned ? flipped : row, rows[y]);
    }
    for (int x = 0; x < kLength; ++x) {
      V column[size], found[kLength];
      for (int y = 0; y < size; ++y) column[y] = rows[y][x];
      along(column, found);
      for (int y = 0; y < kLength; ++y) store(to.data + (y * kLength + x) * to.point, found[y]);
    }
  }

  template <int size, void (*along)(const V *, V *)>
  void synthesise(Spectrum from, const Lanes &lanes, V bias) {
    V rows[size][kLength];
    for (int x = 0; x < kLength; ++x) {
      V column[kLength], found[size];
      for (int y = 0; y < kLength; ++y) column[y] = load(from.data + (y * kLength + x) * from.point);
      along(column, found);
      for (int y = 0; y < size; ++y) rows[y][x] = found[y];
    }
    int64_t bottom = 0;
    for (int64_t lane = 0; lane < lanes.count; ++lane) bottom = larger(bottom, lanes.window[lane].bottom);
    for (int y = 0; y < bottom; ++y) {
      V found[size];
      along(rows[y], found);
      lines_.write(lanes, y, found, 2, 0, bias);
    }
  }

  const Plan &plan_;
  Lines lines_;
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
