// The plan of a tiled convolution: its classes of results, the terms of each, and how the work is cut into units.
#pragma once

#include "lattice.h"
#include "machine.h"
#include "threads.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

inline int64_t product(const int64_t *sizes) { return sizes[0] * sizes[1] * sizes[2]; }

// The convolution seen from its output, or from its input (`back`): classes, channels and how the rows are cut.
template <class W>
struct Plan {
  const Tiled &t;
  const bool back;
  Lattice axes[3];
  int64_t source_size[3], result_size[3];
  int64_t ins, outs;                    // channels of a group, of the source and of the results
  int64_t vectors, columns, strips;     // vectors of channels in a strip of results, its channels, and strips
  int64_t axis, block, parts;           // the axis whose lattices are cut, into how long parts, and how many
  int64_t sizes[3];                     // of a unit's box

  Plan(const Tiled &tiled, bool back, int64_t box_channels) : t(tiled), back(back), axis(0) {
    for (int a = 0; a < 3; ++a) {
      source_size[a] = back ? t.outputs[a] : t.size[a], result_size[a] = back ? t.size[a] : t.outputs[a];
      axes[a] = Lattice{source_size[a], result_size[a], t.kernel[a], t.stride[a],
                        t.dilation[a],  t.low[a],       t.period[a], back};
    }
    ins = back ? t.out : t.in, outs = back ? t.in : t.out;
    const int64_t needed = blocks(outs, kLanes<W>);
    strips = blocks(needed, kMostLanes), vectors = blocks(needed, strips), columns = vectors * kLanes<W>;
    while (axis < 2 && axes[axis].count(0) == 1) ++axis;
    cut(box_channels);
  }

  void cut(int64_t channels) {
    const int64_t whole = axes[axis].count(0), units = larger(t.batch * t.groups, 1);
    parts = smaller(whole, blocks(2 * t.threads, units));
    for (;; parts = blocks(whole, block - 1)) {  // so that each block is shorter than the last
      block = blocks(whole, parts), parts = blocks(whole, block);
      for (int a = 0; a < 3; ++a) sizes[a] = axes[a].span(a == axis ? block : axes[a].count(0));
      if (block == 1 || (channels * product(sizes) + positions() * columns) * int64_t(sizeof(W)) <= kUnitBytes) return;
    }
  }

  int64_t classes() const { return axes[0].classes() * axes[1].classes() * axes[2].classes(); }
  int64_t taps() const { return product(t.kernel); }
  int64_t positions() const {
    int64_t found = 1;
    for (int a = 0; a < 3; ++a) found *= a == axis ? block : axes[a].count(0);
    return found;
  }
  void class_at(int64_t number, int64_t *c) const {
    c[2] = number % axes[2].classes(), number /= axes[2].classes();
    c[1] = number % axes[1].classes(), c[0] = number / axes[1].classes();
  }
  Box<W> box(W *memory, int64_t part) const {
    Box<W> found{memory, {}, {sizes[0], sizes[1], sizes[2]}};
    for (int a = 0; a < 3; ++a)
      found.first[a] = axes[a].first() + (a == axis ? part * block * axes[a].source_step() : 0);
    return found;
  }

  // visit(number of a row, its first source sample in the box, its first result, how many): a class in a part.
  template <class Visit>
  void each_row(const int64_t *c, int64_t part, const Visit &visit) const {
    int64_t first[3] = {0, 0, 0}, end[3];
    for (int a = 0; a < 3; ++a) end[a] = axes[a].count(c[a]);
    first[axis] = part * block, end[axis] = smaller(end[axis], first[axis] + block);
    const int64_t count = end[2] - first[2];
    if (count <= 0) return;
    const auto at = [&](int a, int64_t n) { return (n - first[a]) * axes[a].source_step(); };
    int64_t done = 0;
    for (int64_t m = first[0]; m < end[0]; ++m)
      for (int64_t n = first[1]; n < end[1]; ++n, done += count) {
        const int64_t row = (c[0] + m * axes[0].step()) * result_size[1] + c[1] + n * axes[1].step();
        const int64_t result = row * result_size[2] + c[2] + first[2] * axes[2].step();
        visit(done, (at(0, m) * sizes[1] + at(1, n)) * sizes[2], result, count);
      }
  }

  // visit(number, offset in the box, place in the weights' taps, phase) for every term of a class.
  template <class Visit>
  void each_term(const int64_t *c, const Visit &visit) const {
    int64_t number = 0;
    for (int64_t tap = 0; tap < taps(); ++tap) {
      const int64_t at[3] = {tap / t.kernel[2] / t.kernel[1], tap / t.kernel[2] % t.kernel[1], tap % t.kernel[2]};
      int64_t offset = 0, phase = 0, there = true;
      for (int a = 0; a < 3; ++a) {
        const Term term = axes[a].term(c[a], at[a]);
        there &= term.is_there;
        offset = offset * sizes[a] + term.offset - axes[a].first();
        phase = phase * t.period[a] + term.phase;
      }
      if (there) visit(number++, offset, tap, phase);
    }
  }
  int64_t terms(const int64_t *c) const { return axes[0].terms(c[0]) * axes[1].terms(c[1]) * axes[2].terms(c[2]); }

  // Places of a class's results in the box, with more of the last so that blocks of rows may be read whole.
  int64_t places(const int64_t *c, int64_t part, int64_t *to) const {
    int64_t found = 0;
    each_row(c, part, [&](int64_t done, int64_t source, int64_t, int64_t count) {
      for (int64_t n = 0; n < count; ++n) to[done + n] = source + n * axes[2].source_step();
      found = done + count;
    });
    for (int64_t more = 0; found && more < kMostRows; ++more) to[found + more] = to[found - 1];
    return found;
  }
};

// Memory that is cut up piece by piece, each piece aligned.
struct Pieces {
  char *next;
  template <class T>
  T *take(int64_t count) {
    T *piece = reinterpret_cast<T *>(next);
    next += bytes<T>(count);
    return piece;
  }
  template <class T>
  static int64_t bytes(int64_t count) {
    return blocks(count * int64_t(sizeof(T)), int64_t(kLine)) * int64_t(kLine);
  }
};

// The weights of every class as rows of channels of the results, in the order of the terms, and the terms' offsets.
template <class W>
struct Factors {
  const Plan<W> &plan;
  int64_t *starts, *offsets;
  W *factors;

  static int64_t rows(const Plan<W> &plan) {
    int64_t c[3], total = 0;
    for (int64_t number = 0; number < plan.classes(); ++number) plan.class_at(number, c), total += plan.terms(c);
    return total * plan.ins;
  }
  static size_t bytes(const Plan<W> &plan) {
    const int64_t count = rows(plan);
    return size_t(Pieces::bytes<int64_t>(plan.classes() + 1) + Pieces::bytes<int64_t>(count) +
                  Pieces::bytes<W>(count * plan.t.groups * plan.strips * plan.columns));
  }
  Factors(const Plan<W> &plan, void *memory) : plan(plan) {
    const int64_t count = rows(plan);
    Pieces pieces{static_cast<char *>(memory)};
    starts = pieces.take<int64_t>(plan.classes() + 1), offsets = pieces.take<int64_t>(count);
    factors = pieces.take<W>(count * plan.t.groups * plan.strips * plan.columns);
    int64_t c[3];
    starts[0] = 0;
    for (int64_t number = 0; number < plan.classes(); ++number)
      plan.class_at(number, c), starts[number + 1] = starts[number] + plan.terms(c) * plan.ins;
  }
  int64_t count(int64_t number) const { return starts[number + 1] - starts[number]; }
  W *at(int64_t number, int64_t group, int64_t strip) const {
    const int64_t before = starts[number] * plan.t.groups + count(number) * group;
    return factors + (before * plan.strips + count(number) * strip) * plan.columns;
  }

  template <class T>
  void fill(int64_t number, int64_t group, const T *weight) const {
    const Tiled &t = plan.t;
    int64_t c[3];
    plan.class_at(number, c);
    const int64_t terms = plan.terms(c), taps = plan.taps(), step = plan.back ? taps : t.in * taps;
    const int64_t other = plan.back ? t.in * taps : taps;
    plan.each_term(c, [&](int64_t term, int64_t offset, int64_t tap, int64_t phase) {
      const T *from = weight + (phase * t.groups + group) * t.out * t.in * taps + tap;
      for (int64_t channel = 0; channel < plan.ins; ++channel) {
        const int64_t row = channel * terms + term;
        if (group == 0) offsets[starts[number] + row] = channel * product(plan.sizes) + offset;
        for (int64_t strip = 0; strip < plan.strips; ++strip) {
          W *to = at(number, group, strip) + row * plan.columns;
          const int64_t first = strip * plan.columns, real = smaller(plan.columns, plan.outs - first);
          for (int64_t lane = 0; lane < real; ++lane) to[lane] = widen(from[channel * other + (first + lane) * step]);
          for (int64_t lane = larger(real, 0); lane < plan.columns; ++lane) to[lane] = 0;
        }
      }
    });
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
