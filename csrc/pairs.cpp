// Pairs of places within a window of each other: what passes between them, and what they have in common.
//
// A pair is kept once, at its first place i: the later half of the window's taps, t, names the second place i + t. So an
// array of pairs is (batch, taps, *size), and what it holds where i + t is outside is neither read nor counted. A row of
// places is computed at a time: every tap is two sources of a row, the pair that begins here and the one that ends here.
#include "interface.h"
#include "partial.h"
#include "threads.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

constexpr int kTogether = 12;  // channels whose sums stay in registers

// Lanes `first` to `end` - 1, zeros in the others; memory of the others is not touched.
template <class T>
inline TORCHCONV_INLINE vec<T> load_between(const T *from, int64_t first, int64_t end) {
  T lanes[kLanes<T>] = {};
  for (int64_t lane = larger(first, 0); lane < smaller(end, kLanes<T>); ++lane) lanes[lane] = from[lane];
  return load(lanes);
}
#if TORCHCONV_BYTES == 64
inline uint32_t bits_between(int64_t first, int64_t end, int64_t lanes) {
  first = smaller(larger(first, 0), lanes), end = larger(smaller(end, lanes), first);
  return (1u << end) - (1u << first);
}
template <>
inline TORCHCONV_INLINE vec<float> load_between(const float *from, int64_t first, int64_t end) {
  return _mm512_maskz_loadu_ps(__mmask16(bits_between(first, end, 16)), from);
}
template <>
inline TORCHCONV_INLINE vec<double> load_between(const double *from, int64_t first, int64_t end) {
  return _mm512_maskz_loadu_pd(__mmask8(bits_between(first, end, 8)), from);
}
#endif

// One image's places and the taps of half a window.
struct Places {
  const Pairs &pairs;
  int64_t width, rows, plane, centre;

  explicit Places(const Pairs &given) : pairs(given) {
    const int64_t *size = given.size, *radius = given.radius;
    width = size[2], rows = size[0] * size[1], plane = rows * width;
    centre = ((2 * radius[0] + 1) * (2 * radius[1] + 1) * (2 * radius[2] + 1) - 1) / 2;
  }
  int64_t taps() const { return centre; }
  int64_t offset(int64_t tap, int axis) const {  // in samples
    int64_t place = centre + 1 + tap;
    for (int a = 2; a > axis; --a) place /= 2 * pairs.radius[a] + 1;
    return (place % (2 * pairs.radius[axis] + 1) - pairs.radius[axis]) * pairs.dilation[axis];
  }
  // The row of places `sign` times a tap away from a row; -1 outside.
  int64_t row(int64_t from, int64_t tap, int64_t sign) const {
    const int64_t depth = from / pairs.size[1] + sign * offset(tap, 0), line = from % pairs.size[1] + sign * offset(tap, 1);
    const bool inside = depth >= 0 && depth < pairs.size[0] && line >= 0 && line < pairs.size[1];
    return inside ? depth * pairs.size[1] + line : -1;
  }
};

// For the places `first` to `end` - 1 of a row: the weights of some pairs, and from where on their other places lie.
template <class T>
struct Source {
  const T *weights;
  int64_t other, first, end;
};

template <class T>
struct Sources {
  Source<T> *each;
  int64_t count, first, end;  // the places that all of them have

  // Of one row of places: pairs that begin there, and pairs that end there.
  Sources(const Places &places, int64_t row, const T *weights, void *memory)
      : each(static_cast<Source<T> *>(memory)), count(0), first(0), end(places.width) {
    for (int64_t tap = 0; tap < places.taps(); ++tap) {
      const T *begin = weights + tap * places.plane;
      const int64_t step = places.offset(tap, 2), after = places.row(row, tap, 1), before = places.row(row, tap, -1);
      if (after >= 0) add(places, begin + row * places.width, after * places.width + step, step);
      if (before >= 0) add(places, begin + before * places.width - step, before * places.width - step, -step);
    }
  }
  void add(const Places &places, const T *weights, int64_t other, int64_t step) {
    const Source<T> source{weights, other, larger(-step, 0), smaller(places.width - step, places.width)};
    first = larger(first, source.first), end = smaller(end, source.end);
    if (source.first < source.end) each[count++] = source;
  }
};

// What comes to a vector of places from their pairs; `Whole`: nothing of it is cut off by the border.
template <class T, int Channels, bool Whole>
void add_up(const Sources<T> &sources, int64_t plane, int64_t place, int64_t lanes, const T *x, T *to) {
  vec<T> sums[Channels] = {};
  for (int64_t number = 0; number < sources.count; ++number) {
    const Source<T> &source = sources.each[number];
    const int64_t first = source.first - place, end = source.end - place;
    const T *weights = source.weights + place, *others = x + source.other + place;
    const vec<T> weight = Whole ? load(weights) : load_between(weights, first, end);
    unrolled<0, Channels>([&](auto channel) {
      const T *other = others + channel * plane;
      sums[channel] += weight * (Whole ? load(other) : load_between(other, first, end));
    });
  }
  unrolled<0, Channels>([&](auto channel) {
    T *sum = to + channel * plane + place;
    if (lanes == kLanes<T>) {
      store(sum, sums[channel]);
    } else {
      store_first(sum, sums[channel], lanes);
    }
  });
}

template <class T, int Channels>
void add_channels(const Sources<T> &sources, const Places &places, int64_t channels, const T *x, T *to) {
  if constexpr (Channels > 1) {
    if (channels < Channels) return add_channels<T, Channels - 1>(sources, places, channels, x, to);
  }
  for (int64_t place = 0; place < places.width; place += kLanes<T>) {
    const int64_t lanes = smaller(kLanes<T>, places.width - place);
    if (place >= sources.first && place + kLanes<T> <= sources.end) {
      add_up<T, Channels, true>(sources, places.plane, place, lanes, x, to);
    } else {
      add_up<T, Channels, false>(sources, places.plane, place, lanes, x, to);
    }
  }
}

template <class T>
int messages(const Pairs &pairs, const T *weights, const T *x, T *y) {
  const Places places(pairs);
  const int64_t parts = blocks(pairs.channels, kTogether);
  const size_t bytes = size_t(2 * places.taps()) * sizeof(Source<T>);
  const bool complete = share(pairs.batch * places.rows, pairs.threads, bytes, [&](int64_t unit, void *memory) {
    const int64_t image = unit / places.rows, row = unit % places.rows;
    const Sources<T> sources(places, row, weights + image * places.taps() * places.plane, memory);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = pairs.channels * part / parts, end = pairs.channels * (part + 1) / parts;
      const int64_t plane = (image * pairs.channels + first) * places.plane;
      add_channels<T, kTogether>(sources, places, end - first, x + plane, y + plane + row * places.width);
    }
  });
  return complete ? kDone : kNoMemory;
}

// What two places have in common, channel by channel.
template <class T>
struct Products {
  static inline TORCHCONV_INLINE vec<T> of(vec<T> a, vec<T> b, vec<T> other_a, vec<T> other_b) {
    return a * other_b + other_a * b;
  }
};
template <class T>
struct Distances {  // squared
  static inline TORCHCONV_INLINE vec<T> of(vec<T> a, vec<T>, vec<T> other_a, vec<T>) {
    return (a - other_a) * (a - other_a);
  }
};

// A vector of pairs that begin in one row and end in another, `step` further on.
template <class T, class Measure, bool Whole>
vec<T> compare(const T *a, const T *b, int64_t plane, int64_t channels, int64_t other, int64_t first, int64_t end) {
  vec<T> sum{};
  for (int64_t channel = 0; channel < channels; ++channel, a += plane, b += plane) {
    const auto at = [&](const T *from) { return Whole ? load(from) : load_between(from, first, end); };
    sum += Measure::of(at(a), at(b), at(a + other), at(b + other));
  }
  return sum;
}

template <class T, class Measure>
int compare_all(const Pairs &pairs, const T *a, const T *b, T *to) {
  const Places places(pairs);
  const int64_t width = places.width;
  const bool complete = share(pairs.batch * places.rows, pairs.threads, 0, [&](int64_t unit, void *) {
    const int64_t image = unit / places.rows, row = unit % places.rows, here = row * width;
    const int64_t channels = image * pairs.channels * places.plane;
    for (int64_t tap = 0; tap < places.taps(); ++tap) {
      const int64_t after = places.row(row, tap, 1), step = places.offset(tap, 2);
      const int64_t first = larger(-step, 0), end = after < 0 ? first : smaller(width - step, width);
      T *result = to + (image * places.taps() + tap) * places.plane + here;
      for (int64_t place = 0; place < width; place += kLanes<T>) {
        const int64_t lanes = smaller(kLanes<T>, width - place), other = after * width + step - here;
        const T *from = a + channels + here + place, *with = b + channels + here + place;
        if (place >= first && place + kLanes<T> <= end) {
          store(result + place,
                compare<T, Measure, true>(from, with, places.plane, pairs.channels, other, 0, kLanes<T>));
        } else if (place < end) {
          store_first(result + place, compare<T, Measure, false>(from, with, places.plane, pairs.channels, other,
                                                                 first - place, end - place), lanes);
        } else {
          store_first(result + place, vec<T>{}, lanes);
        }
      }
    }
  });
  return complete ? kDone : kNoMemory;
}

// A statement with T standing for the type of the numbers; narrow ones are not taken.
#define BY_WIDE_TYPE(T, ...)                          \
  switch (pairs.type) {                               \
    case kFloat32: { typedef float T; __VA_ARGS__; }  \
    case kFloat64: { typedef double T; __VA_ARGS__; } \
  }                                                   \
  return kUnknownType

}  // namespace

int pair_messages(const Pairs &pairs, const void *weights, const void *x, void *y) {
  BY_WIDE_TYPE(T, return messages(pairs, static_cast<const T *>(weights), static_cast<const T *>(x), static_cast<T *>(y)));
}

int pair_products(const Pairs &pairs, const void *a, const void *b, void *to) {
  BY_WIDE_TYPE(T, return compare_all<T, Products<T>>(pairs, static_cast<const T *>(a), static_cast<const T *>(b),
                                                     static_cast<T *>(to)));
}

int pair_distances(const Pairs &pairs, const void *x, void *to) {
  BY_WIDE_TYPE(T, return compare_all<T, Distances<T>>(pairs, static_cast<const T *>(x), static_cast<const T *>(x),
                                                      static_cast<T *>(to)));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
