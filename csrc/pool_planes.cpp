// Pooling of small planes: as many of them as a vector has lanes lie side by side, so that a tap is one vector operation
// whatever the stride, and weights need not be products. Larger planes do not stay in the cache that way (pooling.cpp).
#include "interface.h"
#include "partial.h"
#include "pool_powers.h"
#include "threads.h"
#include "transpose.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

// The taps of one axis that meet samples, for each output: from `begin` on, before `end`; the first at sample `first`.
struct Reach {
  int64_t begin, end, first;
  Reach(const Pooling &pool, int axis, int64_t output) {
    const int64_t start = output * pool.stride[axis] - pool.low[axis], step = pool.dilation[axis];
    begin = smaller(larger(rounded_up(-start, step), 0), pool.kernel[axis]);
    end = larger(smaller(rounded_up(pool.size[axis] - start, step), pool.kernel[axis]), begin);
    first = start + begin * step;
  }
};

inline int64_t samples_of(const Pooling &pool) { return pool.size[0] * pool.size[1] * pool.size[2]; }
inline int64_t outputs_of(const Pooling &pool) { return pool.outputs[0] * pool.outputs[1] * pool.outputs[2]; }
inline int64_t taps_of(const Pooling &pool) { return pool.kernel[0] * pool.kernel[1] * pool.kernel[2]; }

// tap(number of a sample, number of a tap) for every one under an output, in the order of memory, after begin(output)
// and before end(output).
template <class Begin, class Tap, class End>
inline TORCHCONV_INLINE void each_window(const Pooling &pool, const Begin &begin, const Tap &tap, const End &end) {
  int64_t output = 0;
  for (int64_t d = 0; d < pool.outputs[0]; ++d) {
    const Reach depth(pool, 0, d);
    for (int64_t h = 0; h < pool.outputs[1]; ++h) {
      const Reach height(pool, 1, h);
      for (int64_t w = 0; w < pool.outputs[2]; ++w, ++output) {
        const Reach width(pool, 2, w);
        begin(output);
        for (int64_t a = depth.begin; a < depth.end; ++a) {
          const int64_t slice = (depth.first + (a - depth.begin) * pool.dilation[0]) * pool.size[1];
          for (int64_t b = height.begin; b < height.end; ++b) {
            const int64_t line = (slice + height.first + (b - height.begin) * pool.dilation[1]) * pool.size[2];
            const int64_t row = (a * pool.kernel[1] + b) * pool.kernel[2];
            int64_t sample = line + width.first;
            for (int64_t c = width.begin; c < width.end; ++c, sample += pool.dilation[2]) tap(sample, row + c);
          }
        }
        end(output);
      }
    }
  }
}

// The planes of one vector, each a lane; the last one is read again where there are too few.
template <class T, class W>
struct Beside {
  static constexpr int64_t lanes = kLanes<W>;
  int64_t first, count;

  Beside(const Pooling &pool, int64_t number)
      : first(number * lanes), count(smaller(pool.planes - first, lanes)) {}

  void read(const T *planes, int64_t size, W *to) const {
    const T *from[lanes];
    for (int64_t lane = 0; lane < lanes; ++lane) from[lane] = planes + (first + smaller(lane, count - 1)) * size;
    int64_t at = 0;
    if constexpr (sizeof(T) == sizeof(float) && sizeof(W) == sizeof(float)) {
      for (; at + 4 <= size; at += 4) {
        vec<float> quad[4];
        gather_quads(from, at, quad);
        for (int64_t i = 0; i < 4; ++i) store(to + (at + i) * lanes, quad[i]);
      }
    }
    for (; at < size; ++at)
      for (int64_t lane = 0; lane < lanes; ++lane) to[at * lanes + lane] = W(widen(from[lane][at]));
  }

  void write(const W *from, int64_t size, T *planes) const {
    int64_t at = 0;
    if constexpr (sizeof(T) == sizeof(float) && sizeof(W) == sizeof(float)) {
      float *to[lanes];
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = planes + (first + lane) * size;
      for (; at + 4 <= size && count == lanes; at += 4) {
        vec<float> quad[4];
        for (int64_t i = 0; i < 4; ++i) quad[i] = load(from + (at + i) * lanes);
        scatter_quads(quad, to, at);
      }
    }
    for (int64_t lane = 0; lane < count; ++lane)
      for (int64_t i = at; i < size; ++i) narrow(Wide<T>(from[i * lanes + lane]), planes + (first + lane) * size + i);
  }
};

// body(planes, memory for so many numbers) for every vector of planes.
template <class T, class W, class Body>
int each_vector(const Pooling &pool, int64_t numbers, const Body &body) {
  const auto vector = [&](int64_t number, void *memory) { body(Beside<T, W>(pool, number), static_cast<W *>(memory)); };
  const int64_t units = blocks(pool.planes, kLanes<W>);
  return share(units, pool.threads, size_t(numbers) * sizeof(W), vector) ? kDone : kNoMemory;
}

// The weights and behind them the scales, which are returned, in the type that is computed with.
template <class W>
const W *converted(const Pooling &pool, const double *weights, const double *scales, W *to) {
  const int64_t taps = taps_of(pool), results = outputs_of(pool);
  for (int64_t tap = 0; tap < taps; ++tap) to[tap] = W(weights[tap]);
  for (int64_t output = 0; output < results; ++output) to[taps + output] = W(scales[output]);
  return to + taps;
}

template <int Power, class T, class W>
int sums_of(const Pooling &pool, const T *x, const double *weights, const double *scales, T *y) {
  constexpr int64_t lanes = kLanes<W>;
  const int64_t samples = samples_of(pool), results = outputs_of(pool);
  const int64_t numbers = (samples + results) * lanes + taps_of(pool) + results;
  return each_vector<T, W>(pool, numbers, [&](const Beside<T, W> &planes, W *memory) {
    W *values = memory, *sums = values + samples * lanes, *weight = sums + results * lanes;
    const W *scale = converted(pool, weights, scales, weight);
    planes.read(x, samples, values);
    vec<W> sum;
    each_window(
        pool, [&](int64_t) { sum = vec<W>{}; },
        [&](int64_t sample, int64_t tap) {
          const vec<W> value = load(values + sample * lanes);
          if constexpr (Power == 0) sum += weight[tap] * value;
          if constexpr (Power != 0) sum += weight[tap] * power<Power>(value);
        },
        [&](int64_t output) { store(sums + output * lanes, sum * scale[output]); });
    roots(sums, results * lanes, pool.power);
    planes.write(sums, results, y);
  });
}

// The adjoint; with a base also multiplied with the slope of its power.
template <class T>
int spread(const Pooling &pool, const T *grad, const double *weights, const double *scales, const T *base, T *x) {
  typedef Wide<T> W;
  constexpr int64_t lanes = kLanes<W>;
  const int64_t samples = samples_of(pool), results = outputs_of(pool);
  const int64_t numbers = (2 * samples + results) * lanes + taps_of(pool) + results;
  return each_vector<T, W>(pool, numbers, [&](const Beside<T, W> &planes, W *memory) {
    W *sums = memory, *bases = sums + samples * lanes, *given = bases + samples * lanes,
      *weight = given + results * lanes;
    const W *scale = converted(pool, weights, scales, weight);
    planes.read(grad, results, given);
    for (int64_t i = 0; i < samples * lanes; ++i) sums[i] = 0;
    vec<W> value;
    each_window(
        pool, [&](int64_t output) { value = load(given + output * lanes) * scale[output]; },
        [&](int64_t sample, int64_t tap) {
          W *to = sums + sample * lanes;
          store(to, load(to) + weight[tap] * value);
        },
        [](int64_t) {});
    if (base) {
      planes.read(base, samples, bases);
      for (int64_t i = 0; i < samples * lanes; ++i) sums[i] *= slope(bases[i], pool.power);
    }
    planes.write(sums, samples, x);
  });
}

template <class T>
int largest_of(const Pooling &pool, const T *x, T *y) {
  typedef Wide<T> W;
  constexpr int64_t lanes = kLanes<W>;
  const int64_t samples = samples_of(pool), results = outputs_of(pool);
  return each_vector<T, W>(pool, (samples + results) * lanes, [&](const Beside<T, W> &planes, W *memory) {
    W *values = memory, *found = memory + samples * lanes;
    planes.read(x, samples, values);
    vec<W> best;
    each_window(
        pool, [&](int64_t) { best = vec<W>{} - W(__builtin_inf()); },
        [&](int64_t sample, int64_t) {
          const vec<W> value = load(values + sample * lanes);
          best = (best >= value) | (best != best) ? best : value;
        },
        [&](int64_t output) { store(found + output * lanes, best); });
    planes.write(found, results, y);
  });
}

// Each gradient to the first sample of its window that is the largest, in the order of memory.
template <class T>
int to_largest(const Pooling &pool, const T *grad, const T *x, const T *y, T *to) {
  typedef Wide<T> W;
  constexpr int64_t lanes = kLanes<W>;
  const int64_t samples = samples_of(pool), results = outputs_of(pool);
  return each_vector<T, W>(pool, 2 * (samples + results) * lanes, [&](const Beside<T, W> &planes, W *memory) {
    W *values = memory, *sums = values + samples * lanes, *found = sums + samples * lanes,
      *given = found + results * lanes;
    planes.read(x, samples, values);
    planes.read(y, results, found);
    planes.read(grad, results, given);
    for (int64_t i = 0; i < samples * lanes; ++i) sums[i] = 0;
    vec<W> best, left;
    each_window(
        pool,
        [&](int64_t output) {
          best = load(found + output * lanes);
          left = load(given + output * lanes);
        },
        [&](int64_t sample, int64_t) {
          const vec<W> value = load(values + sample * lanes);
          W *sum = sums + sample * lanes;
          const auto hit = (value == best) | ((value != value) & (best != best));
          store(sum, load(sum) + (hit ? left : vec<W>{}));
          left = hit ? vec<W>{} : left;
        },
        [](int64_t) {});
    planes.write(sums, samples, to);
  });
}

}  // namespace

int planes_sum(const Pooling &conv, const void *x, const double *weights, const double *scales, void *y) {
  BY_TYPE(T, {
    const T *from = static_cast<const T *>(x);
    T *to = static_cast<T *>(y);
    switch (conv.power) {  // powers in double, so that none of a float is too large
      case 1: return sums_of<1, T, double>(conv, from, weights, scales, to);
      case 2: return sums_of<2, T, double>(conv, from, weights, scales, to);
      case 3: return sums_of<3, T, double>(conv, from, weights, scales, to);
      case 4: return sums_of<4, T, double>(conv, from, weights, scales, to);
    }
    return sums_of<0, T, Wide<T>>(conv, from, weights, scales, to);
  });
}

int planes_sum_grad(const Pooling &conv, const void *grad, const double *weights, const double *scales,
                    const void *base, void *x) {
  BY_TYPE(T, return spread<T>(conv, static_cast<const T *>(grad), weights, scales, static_cast<const T *>(base),
                              static_cast<T *>(x)));
}

int planes_max(const Pooling &conv, const void *x, void *y) {
  BY_TYPE(T, return largest_of<T>(conv, static_cast<const T *>(x), static_cast<T *>(y)));
}

int planes_max_grad(const Pooling &conv, const void *grad, const void *x, const void *y, void *to) {
  BY_TYPE(T, return to_largest<T>(conv, static_cast<const T *>(grad), static_cast<const T *>(x),
                                  static_cast<const T *>(y), static_cast<T *>(to)));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
