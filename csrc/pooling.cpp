// Pooling: the largest value, or a weighted sum, of every window of a plane, and their gradients.
//
// A window is a product of intervals, and so is what is done with it: first the rows under the taps of a row of outputs
// become one row, number by number, then its samples become outputs (pool_line.h). Weights are products of one factor for
// each axis; so are the numbers that outputs are divided by, which is how windows at the border know their size.
#include "pool_line.h"
#include "pool_powers.h"
#include "threads.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

// Factors of the three axes, one after another: of taps (kernel), or of outputs.
struct Factors {
  const double *of[3];
  Factors(const double *all, const int64_t *counts) : of{all, all + counts[0], all + counts[0] + counts[1]} {}
  double rows(int64_t a, int64_t b) const { return of[0][a] * of[1][b]; }
};

template <class W>
inline W larger_or_nan(W a, W b) {
  return (a >= b) | (a != a) ? a : b;
}

// What one way of pooling does with a sample: `begin` and `join` rows, then samples of a row.
template <class W>
struct Largest {
  static constexpr bool kSum = false;
  static W nothing() { return -W(__builtin_inf()); }
  static W begin(W value, W) { return value; }
  static W join(W found, W value, W) { return larger_or_nan(found, value); }
};
template <class W>
struct Sum {
  static constexpr bool kSum = true;
  static W nothing() { return 0; }
  static W begin(W value, W weight) { return weight * value; }
  static W join(W found, W value, W weight) { return found + weight * value; }
};

template <int Power, class W>
struct Powers {
  static constexpr bool kSum = true;
  static W nothing() { return 0; }
  static W begin(W value, W weight) { return weight * power<Power>(value); }
  static W join(W found, W value, W weight) { return found + weight * power<Power>(value); }
};

// One row of outputs after another; Along joins the samples of a row that Rows has joined.
template <class Rows, class Along, class T, class W>
int outputs(const Pooling &pool, const T *x, const double *weights, const double *scales, T *y) {
  const Line line(pool);
  const Factors weight(weights, pool.kernel), scale(scales, pool.outputs);
  const int64_t width = pool.size[2], length = line.places(), wide = pool.outputs[2];
  const int64_t size = pool.size[0] * pool.size[1] * width;
  const size_t bytes = size_t(width + line.stride * length + wide + 3 * kLanes<W>) * sizeof(W);
  const auto plane = [&](int64_t number, void *memory) {
    W *__restrict row = static_cast<W *>(memory), *__restrict phases = row + width + kLanes<W>,
      *__restrict result = phases + line.stride * length + kLanes<W>;
    const T *from = x + number * size;
    T *__restrict to = y + number * pool.outputs[0] * pool.outputs[1] * wide;
    for (int64_t d = 0; d < pool.outputs[0]; ++d) {
      for (int64_t h = 0; h < pool.outputs[1]; ++h, to += wide) {
        bool begun = false;
        each_row(pool, d, h, [&](int64_t under, int64_t a, int64_t b) {
          const T *__restrict samples = from + under * width;
          const W factor = W(weight.rows(a, b));
          if (begun) {
            for (int64_t i = 0; i < width; ++i) row[i] = Rows::join(row[i], W(widen(samples[i])), factor);
          } else {
            for (int64_t i = 0; i < width; ++i) row[i] = Rows::begin(W(widen(samples[i])), factor);
          }
          begun = true;
        });
        for (int64_t i = 0; i < width && !begun; ++i) row[i] = Along::nothing();
        line.split(static_cast<const W *>(row), phases, Along::nothing());
        for (int64_t tap = 0; tap < line.kernel; ++tap) {
          const W *__restrict samples = phases + line.at(tap);
          const W factor = W(weight.of[2][tap]);
          if (tap) {
            for (int64_t i = 0; i < wide; ++i) result[i] = Along::join(result[i], samples[i], factor);
          } else {
            for (int64_t i = 0; i < wide; ++i) result[i] = Along::begin(samples[i], factor);
          }
        }
        if (Along::kSum) {
          const W rows = W(scale.rows(d, h));
          const double *__restrict columns = scale.of[2];
          for (int64_t i = 0; i < wide; ++i) result[i] *= rows * W(columns[i]);
        }
        roots(result, wide, pool.power);
        for (int64_t i = 0; i < wide; ++i) narrow(Wide<T>(result[i]), to + i);
      }
    }
  };
  return share(pool.planes, pool.threads, bytes, plane) ? kDone : kNoMemory;
}

// Where the gradient of a plane is added up: in place, or in float where it is bfloat16.
template <class T>
struct Plane {
  typedef Wide<T> W;
  W *memory;
  bool *touched;
  int64_t rows, width;

  static size_t bytes(int64_t rows, int64_t width) {
    return size_t(rows + 64) * sizeof(bool) + (sizeof(T) == sizeof(W) ? 0 : size_t(rows * width) * sizeof(W));
  }

  Plane(void *buffer, T *gradient, int64_t rows, int64_t width)
      : touched(static_cast<bool *>(buffer)), rows(rows), width(width) {
    memory = sizeof(T) == sizeof(W) ? reinterpret_cast<W *>(gradient)
                                    : reinterpret_cast<W *>(static_cast<char *>(buffer) + rounded_up(rows, 64) * 64);
    for (int64_t row = 0; row < rows; ++row) touched[row] = false;
  }

  void add(int64_t number, const W *__restrict from, W factor) {
    W *__restrict to = memory + number * width;
    if (touched[number]) {
      for (int64_t i = 0; i < width; ++i) to[i] += factor * from[i];
    } else {
      for (int64_t i = 0; i < width; ++i) to[i] = factor * from[i];
    }
    touched[number] = true;
  }

  // x: numbers by the slope of whose power the sums are multiplied, or null.
  void finish(T *gradient, const T *x, int64_t power) {
    for (int64_t row = 0; row < rows; ++row) {
      W *__restrict from = memory + row * width;
      if (!touched[row])
        for (int64_t i = 0; i < width; ++i) from[i] = 0;
      if (x)
        for (int64_t i = 0; i < width; ++i) from[i] *= slope(W(widen(x[row * width + i])), power);
      if (sizeof(T) != sizeof(W))
        for (int64_t i = 0; i < width; ++i) narrow(from[i], gradient + row * width + i);
    }
  }
};

// The adjoint of the weighted sums.
template <class T>
int spread(const Pooling &pool, const T *grad, const double *weights, const double *scales, const T *base, T *x) {
  typedef Wide<T> W;
  const Line line(pool);
  const Factors weight(weights, pool.kernel), scale(scales, pool.outputs);
  const int64_t width = pool.size[2], length = line.places(), wide = pool.outputs[2];
  const int64_t rows = pool.size[0] * pool.size[1], numbers = width + line.stride * length + wide + 48;
  const size_t lines = size_t(blocks(numbers, 16) * 16) * sizeof(W);
  const auto plane = [&](int64_t number, void *memory) {
    W *__restrict row = static_cast<W *>(memory), *__restrict phases = row + width + 16,
      *__restrict value = phases + line.stride * length + 16;
    T *gradient = x + number * rows * width;
    Plane<T> sums(static_cast<char *>(memory) + lines, gradient, rows, width);
    const T *from = grad + number * pool.outputs[0] * pool.outputs[1] * wide;
    for (int64_t d = 0; d < pool.outputs[0]; ++d) {
      for (int64_t h = 0; h < pool.outputs[1]; ++h, from += wide) {
        const W outer = W(scale.rows(d, h));
        for (int64_t i = 0; i < wide; ++i) value[i] = widen(from[i]) * (outer * W(scale.of[2][i]));
        for (int64_t i = 0; i < line.stride * length; ++i) phases[i] = 0;
        for (int64_t tap = 0; tap < line.kernel; ++tap) {
          W *__restrict to = phases + line.at(tap);
          const W factor = W(weight.of[2][tap]);
          for (int64_t i = 0; i < wide; ++i) to[i] += factor * value[i];
        }
        line.join(static_cast<const W *>(phases), row);
        each_row(pool, d, h, [&](int64_t under, int64_t a, int64_t b) { sums.add(under, row, W(weight.rows(a, b))); });
      }
    }
    sums.finish(gradient, base ? base + number * rows * width : nullptr, pool.power);
  };
  return share(pool.planes, pool.threads, lines + Plane<T>::bytes(rows, width), plane) ? kDone : kNoMemory;
}

// Each gradient to the first sample of its window that is the largest, in the order of memory.
template <class T>
int to_largest(const Pooling &pool, const T *grad, const T *x, const T *y, T *to) {
  typedef Wide<T> W;
  const Line line(pool);
  const int64_t width = pool.size[2], all = line.stride * line.places(), wide = pool.outputs[2];
  const int64_t rows = pool.size[0] * pool.size[1], numbers = width + 2 * all + 2 * wide + 80;
  const size_t lines = size_t(blocks(numbers, 16) * 16) * sizeof(W);
  const auto plane = [&](int64_t number, void *memory) {
    W *__restrict row = static_cast<W *>(memory), *__restrict samples = row + width + 16,
      *__restrict parts = samples + all + 16, *__restrict best = parts + all + 16, *__restrict left = best + wide + 16;
    T *gradient = to + number * rows * width;
    Plane<T> sums(static_cast<char *>(memory) + lines, gradient, rows, width);
    const int64_t first = number * pool.outputs[0] * pool.outputs[1] * wide;
    const T *values = y + first, *given = grad + first;
    for (int64_t d = 0; d < pool.outputs[0]; ++d) {
      for (int64_t h = 0; h < pool.outputs[1]; ++h, values += wide, given += wide) {
        for (int64_t i = 0; i < wide; ++i) {
          best[i] = widen(values[i]);
          left[i] = widen(given[i]);
        }
        each_row(pool, d, h, [&](int64_t under, int64_t, int64_t) {
          line.split(x + (number * rows + under) * width, samples, W(0));
          for (int64_t i = 0; i < all; ++i) parts[i] = 0;
          for (int64_t tap = 0; tap < line.kernel; ++tap) {
            const int64_t phase = line.phase(tap), offset = line.offset(tap);
            const int64_t begin = larger(line.first(phase) - offset, 0), end = smaller(line.end(phase) - offset, wide);
            const W *__restrict from = samples + line.at(tap);
            W *__restrict part = parts + line.at(tap);
            for (int64_t i = begin; i < end; ++i) {
              const bool hit = (from[i] == best[i]) | ((from[i] != from[i]) & (best[i] != best[i]));
              part[i] += hit ? left[i] : W(0);
              left[i] = hit ? W(0) : left[i];
            }
          }
          line.join(static_cast<const W *>(parts), row);
          sums.add(under, row, W(1));
        });
      }
    }
    sums.finish(gradient, nullptr, 0);
  };
  return share(pool.planes, pool.threads, lines + Plane<T>::bytes(rows, width), plane) ? kDone : kNoMemory;
}

}  // namespace

int pool_sum(const Pooling &conv, const void *x, const double *weights, const double *scales, void *y) {
  BY_TYPE(T, {
    const T *from = static_cast<const T *>(x);
    T *to = static_cast<T *>(y);
    switch (conv.power) {  // powers in double, so that none of a float is too large
      case 1: return outputs<Powers<1, double>, Sum<double>, T, double>(conv, from, weights, scales, to);
      case 2: return outputs<Powers<2, double>, Sum<double>, T, double>(conv, from, weights, scales, to);
      case 3: return outputs<Powers<3, double>, Sum<double>, T, double>(conv, from, weights, scales, to);
      case 4: return outputs<Powers<4, double>, Sum<double>, T, double>(conv, from, weights, scales, to);
    }
    return outputs<Sum<Wide<T>>, Sum<Wide<T>>, T, Wide<T>>(conv, from, weights, scales, to);
  });
}

int pool_sum_grad(const Pooling &conv, const void *grad, const double *weights, const double *scales, const void *base,
                  void *x) {
  BY_TYPE(T, return spread<T>(conv, static_cast<const T *>(grad), weights, scales, static_cast<const T *>(base),
                              static_cast<T *>(x)));
}

int pool_max(const Pooling &conv, const void *x, const double *weights, const double *scales, void *y) {
  BY_TYPE(T, return (outputs<Largest<Wide<T>>, Largest<Wide<T>>, T, Wide<T>>(conv, static_cast<const T *>(x), weights,
                                                                             scales, static_cast<T *>(y))));
}

int pool_max_grad(const Pooling &conv, const void *grad, const void *x, const void *y, void *to) {
  BY_TYPE(T, return to_largest<T>(conv, static_cast<const T *>(grad), static_cast<const T *>(x),
                                  static_cast<const T *>(y), static_cast<T *>(to)));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
