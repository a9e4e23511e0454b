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
  const bool filled = share(plan.classes() * t.groups, t.threads, 0, [&](int64_t unit, void *) {
    factors.fill(unit / t.groups, unit % t.groups, weight);
  });
  if (!filled) return kNoMemory;

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
          write_lines(sums + done * plan.columns, plan.columns, real, wide, planes + result, plane, plan.axes[2].step());
        });
      }
    }
  };
  return share(t.batch * t.groups * plan.parts, t.threads, size_t(bytes), unit_of_work) ? kDone : kNoMemory;
}

// The gradient of the weights: sums over all images and positions, of some kernels and channels of the input at a time.
template <class T>
struct WeightGradient {
  typedef Wide<T> W;
  const Tiled &t;
  const int64_t taps, kernels;
  int64_t slice, slices;    // channels of the input at a time, and how often
  int64_t bundle, bundles;  // kernels at a time, and how often
  const Plan<W> plan;
  int64_t rows, box_places, positions, sums_places;  // memory for a slice; sums: of one kernel

  explicit WeightGradient(const Tiled &t)
      : t(t), taps(product(t.kernel)), kernels(product(t.period)), slice(slice_of(t)), slices(blocks(t.in, slice)),
        bundle(smaller(kernels, larger(kernels * slices * t.groups / (2 * t.threads), 1))),
        bundles(blocks(kernels, bundle)), plan(t, false, slice), rows(slice * taps + kMostRows),
        box_places(slice * product(plan.sizes)), positions(plan.positions() + kMostRows),
        sums_places(rows * plan.columns * plan.strips) {}

  static int64_t slice_of(const Tiled &t) {
    const int64_t bytes = product(t.kernel) * blocks(t.out, kLanes<W>) * kBytes;  // of sums, for one channel
    const int64_t slices = larger(blocks(t.in * bytes, kSumBytes), blocks(2 * t.threads, product(t.period) * t.groups));
    return blocks(t.in, smaller(t.in, slices));
  }
  int64_t units() const { return t.groups * slices * bundles; }
  size_t bytes() const {
    return size_t(Pieces::bytes<W>(box_places) + Pieces::bytes<int64_t>(rows * bundle) +
                  Pieces::bytes<int64_t>(positions) + Pieces::bytes<W>(positions * plan.columns) +
                  Pieces::bytes<W>(sums_places * bundle));
  }
  void phase_of(int64_t kernel, int64_t *c) const {
    c[0] = kernel / t.period[2] / t.period[1], c[1] = kernel / t.period[2] % t.period[1], c[2] = kernel % t.period[2];
  }

  // Where the rows of the sums, (channel, tap), begin in the box.
  void row_places(int64_t kernel, int64_t channels, int64_t *places) const {
    int64_t c[3];
    phase_of(kernel, c);
    plan.each_term(c, [&](int64_t term, int64_t offset, int64_t, int64_t) {
      for (int64_t channel = 0; channel < channels; ++channel)
        places[channel * taps + term] = channel * product(plan.sizes) + offset;
    });
    for (int64_t more = 0; more < kMostRows; ++more) places[channels * taps + more] = places[channels * taps - 1];
  }

  void run(int64_t unit, void *memory, const T *x, const T *grad, T *to) const {
    const int64_t first = unit % slices * slice, group = unit / slices % t.groups;
    const int64_t kernel = unit / slices / t.groups * bundle, count = smaller(bundle, kernels - kernel);
    const int64_t channels = smaller(slice, t.in - first), plane = product(t.outputs);
    Pieces pieces{static_cast<char *>(memory)};
    W *box_memory = pieces.take<W>(box_places);
    int64_t *places = pieces.take<int64_t>(rows * bundle), *offsets = pieces.take<int64_t>(positions), c[3];
    W *lines = pieces.take<W>(positions * plan.columns), *sums = pieces.take<W>(sums_places * bundle);
    std::memset(sums, 0, size_t(sums_places * bundle) * sizeof(W));
    for (int64_t k = 0; k < count; ++k) row_places(kernel + k, channels, places + k * rows);
    for (int64_t piece = 0; piece < t.batch * plan.parts; ++piece) {
      const int64_t part = piece % plan.parts, image = piece / plan.parts;
      const Box<W> box = plan.box(box_memory, part);
      box.fill(x + ((image * t.groups + group) * t.in + first) * product(t.size), t.size, channels);
      for (int64_t k = 0; k < count; ++k) {
        phase_of(kernel + k, c);
        const int64_t found = plan.places(c, part, offsets);
        for (int64_t strip = 0; found && strip < plan.strips; ++strip) {
          const int64_t column = strip * plan.columns, real = smaller(plan.columns, t.out - column);
          const T *planes = grad + ((image * t.groups + group) * t.out + column) * plane;
          plan.each_row(c, part, [&](int64_t done, int64_t, int64_t result, int64_t wide) {
            read_lines(lines + done * plan.columns, plan.columns, real, wide, planes + result, plane,
                       plan.axes[2].step());
          });
          W *into = sums + k * sums_places + strip * rows * plan.columns;
          gather(box.memory, places + k * rows, channels * taps, offsets, found, lines, into, plan.vectors, true);
        }
      }
    }
    for (int64_t k = 0; k < count; ++k)
      for (int64_t strip = 0; strip < plan.strips; ++strip) {
        const int64_t column = strip * plan.columns, width = t.in * taps;
        T *from = to + (((kernel + k) * t.groups + group) * t.out + column) * width + first * taps;
        write_lines(sums + k * sums_places + strip * rows * plan.columns, plan.columns,
                    smaller(plan.columns, t.out - column), channels * taps, from, width, 1);
      }
  }
};

template <class T>
int weight_gradient(const Tiled &t, const T *x, const T *grad, T *to) {
  const WeightGradient<T> sums(t);
  const bool complete = share(sums.units(), t.threads, sums.bytes(), [&](int64_t unit, void *memory) {
    sums.run(unit, memory, x, grad, to);
  });
  return complete ? kDone : kNoMemory;
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
