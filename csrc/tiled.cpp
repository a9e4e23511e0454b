// Tiled convolution: output position p uses kernel p % period, on each axis.
//
// Results that use the same kernel lie on a lattice (lattice.h). A unit of work copies the part of the source that some
// rows of results read, with its border, into a thread's memory; there each class of results is one product of matrices
// whose left side is never built: samples are read from where they are and spread over a vector of channels.
#include "classes.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

constexpr int64_t kSumBytes = 96 * 1024;    // for sums of the weights' gradient

// The output from the input, or the gradient of the input from that of the output.
template <class T, class Result>
int results(const Tiled &t, bool back, const T *source, const T *weight, Result *to) {
  typedef Wide<T> W;
  const Plan<W> plan(t, back, back ? t.out : t.in);
  const Buffer shared(Factors<W>::bytes(plan));
  if (!shared.memory) return kNoMemory;
  const Factors<W> factors(plan, shared.memory);
  share(plan.classes() * t.groups, t.threads, 0,
        [&](int64_t unit, void *) { factors.fill(unit / t.groups, unit % t.groups, weight); });

  const int64_t rows = plan.positions() + kMostRows, box_places = plan.ins * product(plan.sizes);
  const int64_t bytes =
      Pieces::bytes<W>(box_places) + Pieces::bytes<int64_t>(rows) + Pieces::bytes<W>(rows * plan.columns);
  const auto unit_of_work = [&](int64_t unit, void *memory) {
    const int64_t part = unit % plan.parts, group = unit / plan.parts % t.groups, image = unit / plan.parts / t.groups;
    Pieces pieces{static_cast<char *>(memory)};
    const Box<W> box = plan.box(pieces.take<W>(box_places), part);
    int64_t *places = pieces.take<int64_t>(rows), c[3];
    W *sums = pieces.take<W>(rows * plan.columns);
    const int64_t plane = product(plan.result_size);
    box.fill(source + (image * t.groups + group) * plan.ins * product(plan.source_size), plan.source_size, plan.ins);
    for (int64_t number = 0; number < plan.classes(); ++number) {
      plan.class_at(number, c);
      const int64_t count = plan.places(c, part, places);
      for (int64_t strip = 0; count && strip < plan.strips; ++strip) {
        gather(box.memory, places, count, factors.offsets + factors.starts[number], factors.count(number),
               factors.at(number, group, strip), sums, plan.vectors, false);
        const int64_t first = strip * plan.columns, real = smaller(plan.columns, plan.outs - first);
        Result *planes = to + ((image * t.groups + group) * plan.outs + first) * plane;
        plan.each_row(c, part, [&](int64_t done, int64_t, int64_t result, int64_t wide) {
          const int64_t step = plan.axes[2].step();
          for (int64_t lane = 0; lane < real; ++lane)
            for (int64_t n = 0; n < wide; ++n)
              narrow(sums[(done + n) * plan.columns + lane], planes + lane * plane + result + n * step);
        });
      }
    }
  };
  return share(t.batch * t.groups * plan.parts, t.threads, size_t(bytes), unit_of_work) ? kDone : kNoMemory;
}

// The gradient of the weights: sums over all images and positions, for some channels of the input at a time.
template <class T>
int weight_gradient(const Tiled &t, const T *x, const T *grad, T *to) {
  typedef Wide<T> W;
  const int64_t taps = product(t.kernel), kernels = product(t.period);
  const int64_t row_bytes = taps * blocks(t.out, kLanes<W>) * kBytes;
  const int64_t slices = larger(blocks(t.in * row_bytes, kSumBytes), blocks(4 * t.threads, kernels * t.groups));
  const int64_t slice = blocks(t.in, smaller(t.in, slices)), count = blocks(t.in, slice);
  const Plan<W> plan(t, false, slice);
  const int64_t most = slice * taps + kMostRows, box_places = slice * product(plan.sizes);
  const int64_t sums_places = most * plan.columns, positions = plan.positions() + kMostRows;
  const int64_t bytes = Pieces::bytes<W>(box_places) + Pieces::bytes<int64_t>(most) +
                        Pieces::bytes<int64_t>(positions) + Pieces::bytes<W>(positions * plan.columns) +
                        Pieces::bytes<W>(sums_places * plan.strips);
  const auto unit_of_work = [&](int64_t unit, void *memory) {
    const int64_t first = unit % count * slice, group = unit / count % t.groups, number = unit / count / t.groups;
    const int64_t channels = smaller(slice, t.in - first), rows = channels * taps, plane = product(t.outputs);
    Pieces pieces{static_cast<char *>(memory)};
    W *box_memory = pieces.take<W>(box_places);
    int64_t *places = pieces.take<int64_t>(most), *offsets = pieces.take<int64_t>(positions), c[3];
    W *lines = pieces.take<W>(positions * plan.columns), *sums = pieces.take<W>(sums_places * plan.strips);
    std::memset(sums, 0, size_t(sums_places * plan.strips) * sizeof(W));
    c[0] = number / t.period[2] / t.period[1], c[1] = number / t.period[2] % t.period[1], c[2] = number % t.period[2];
    plan.each_term(c, [&](int64_t term, int64_t offset, int64_t, int64_t) {
      for (int64_t channel = 0; channel < channels; ++channel)
        places[channel * taps + term] = channel * product(plan.sizes) + offset;
    });
    for (int64_t more = 0; more < kMostRows; ++more) places[rows + more] = places[rows - 1];
    for (int64_t piece = 0; piece < t.batch * plan.parts; ++piece) {
      const int64_t part = piece % plan.parts, image = piece / plan.parts;
      const int64_t found = plan.places(c, part, offsets);
      if (!found) continue;
      const Box<W> box = plan.box(box_memory, part);
      box.fill(x + ((image * t.groups + group) * t.in + first) * product(t.size), t.size, channels);
      for (int64_t strip = 0; strip < plan.strips; ++strip) {
        const int64_t column = strip * plan.columns, real = smaller(plan.columns, t.out - column);
        const T *planes = grad + ((image * t.groups + group) * t.out + column) * plane;
        plan.each_row(c, part, [&](int64_t done, int64_t, int64_t result, int64_t wide) {
          for (int64_t lane = 0; lane < plan.columns; ++lane)
            for (int64_t n = 0; n < wide; ++n)
              lines[(done + n) * plan.columns + lane] =
                  lane < real ? widen(planes[lane * plane + result + n * plan.axes[2].step()]) : W(0);
        });
        gather(box.memory, places, rows, offsets, found, lines, sums + strip * sums_places, plan.vectors, true);
      }
    }
    T *kernel = to + ((number * t.groups + group) * t.out * t.in + first) * taps;
    for (int64_t channel = 0; channel < t.out; ++channel)
      for (int64_t row = 0; row < rows; ++row)
        narrow(sums[channel / plan.columns * sums_places + row * plan.columns + channel % plan.columns],
               kernel + channel * t.in * taps + row);
  };
  return share(kernels * t.groups * count, t.threads, size_t(bytes), unit_of_work) ? kDone : kNoMemory;
}

}  // namespace

int tiled_output(const Tiled &conv, const void *x, const void *w, void *y) {
  BY_TYPE(T, return results(conv, false, static_cast<const T *>(x), static_cast<const T *>(w), static_cast<T *>(y)));
}

int tiled_input(const Tiled &conv, const void *grad, const void *w, void *x) {
  BY_TYPE(T, return results(conv, true, static_cast<const T *>(grad), static_cast<const T *>(w), static_cast<T *>(x)));
}

int tiled_weight(const Tiled &conv, const void *x, const void *grad, void *w) {
  BY_TYPE(T, return weight_gradient(conv, static_cast<const T *>(x), static_cast<const T *>(grad), static_cast<T *>(w)));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
