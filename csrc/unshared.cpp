// Unshared (locally connected) convolution: every output position has a kernel of its own.
//
// All of the time goes into the weights, which are much larger than anything else, so each is read (or written) once.
// A unit of work is a run of outputs along the last axis. The samples that it reads are cut out first, as a strip that
// stays in the second-level cache; then each position's windows, one for each image, meet the position's weights.
#include "division.h"
#include "threads.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {
namespace {

// What is fetched ahead is shared out among the passes over the same weights, so that memory never waits for products.
inline TORCHCONV_INLINE int64_t ahead_in(int64_t ahead, int64_t block, int64_t pass, int64_t passes) {
  return block % passes == pass ? ahead : 0;
}

// All rows of some weights against the windows of B images.
template <class T, int B>
void multiply_rows(const Rows<T> &weights, const Images<Wide<T>> &windows, Wide<T> *outputs, int64_t pitch, bool add,
                   int64_t pass, int64_t passes) {
  constexpr int R = rows_for(B);
  for (int64_t row = 0; row < weights.rows;) {
    Rows<T> rows = weights;
    rows.memory += row * weights.pitch;
    rows.ahead = ahead_in(weights.ahead, row / R, pass, passes);
    if (row + R <= weights.rows) {
      multiply<T, R, B>(rows, windows.memory, windows.pitch, outputs + row, pitch, add), row += R;
    } else {
      multiply<T, 1, B>(rows, windows.memory, windows.pitch, outputs + row, pitch, add), row += 1;
    }
  }
}

// The outputs of one position and group: outputs[image][row].
template <class T>
void forward(const Division<Wide<T>> &cut, const T *weight, int64_t position, int64_t group,
             const Images<Wide<T>> &windows, Wide<T> *outputs) {
  const int64_t out = cut.conv.out, passes = blocks(windows.count, kBlock), part = part_columns<Wide<T>>(cut.columns);
  in_parts(out, slab_rows<T>(cut.conv), [&](int64_t slab, int64_t count) {
    in_parts(cut.columns, part, [&](int64_t column, int64_t columns) {
      const Rows<T> rows = rows_of(cut.conv, weight, position, group, slab, count, column, columns);
      in_blocks(windows.count, [&](int64_t image, int64_t images) {
        const Images<Wide<T>> block{windows.memory + image * windows.pitch + column, windows.pitch, images};
        Wide<T> *to = outputs + image * out + slab;
        const int64_t pass = image / kBlock;
        if (images == 8) multiply_rows<T, kBlock>(rows, block, to, out, column > 0, pass, passes);
        if (images == 4) multiply_rows<T, 4>(rows, block, to, out, column > 0, pass, passes);
        if (images == 2) multiply_rows<T, 2>(rows, block, to, out, column > 0, pass, passes);
        if (images == 1) multiply_rows<T, 1>(rows, block, to, out, column > 0, pass, passes);
      });
    });
  });
}

template <class T>
int output(const Local &conv, const T *x, const T *weight, T *y) {
  typedef Wide<T> W;
  const Division<W> cut(conv, conv.in, false);
  const bool complete = share(cut.units(), conv.threads, cut.bytes(), [&](int64_t unit, void *memory) {
    const Desk<W> desk(memory, cut);
    const Run run = cut.at(unit);
    in_parts(conv.batch, cut.images, [&](int64_t image, int64_t images) {
      for (int64_t group = 0; group < conv.groups; ++group) {
        const Strip<W> strip{conv, desk.strip, image, images, group * conv.in, conv.in, run};
        const Images<W> windows{desk.windows, cut.pitch, images};
        strip.fill(x);
        for (int64_t place = 0; place < run.count; ++place) {
          strip.window(place, desk.windows, cut.pitch);
          forward(cut, weight, cut.position(run) + place, group, windows, desk.tile + place * images * conv.out);
        }
        write_tile(cut, strip, group, y, desk.tile);
      }
    });
  });
  return complete ? kDone : kNoMemory;
}

// Some rows of weights towards the windows of B images.
template <class T, int B>
void spread_columns(const Rows<T> &weights, const Images<Wide<T>> &grads, Wide<T> *windows, int64_t pitch, bool add,
                    int64_t pass, int64_t passes) {
  constexpr int V = columns_for(B);
  constexpr int64_t lanes = kLanes<Wide<T>>;
  for (int64_t column = 0; column < weights.columns;) {
    const int64_t left = weights.columns - column;
    Rows<T> part = weights;
    part.memory += column, part.columns = left;
    part.ahead = ahead_in(weights.ahead, column / (V * lanes), pass, passes);
    Wide<T> *to = windows + column;
    if (left >= V * lanes) {
      spread<T, V, B, false>(part, grads.memory, grads.pitch, to, pitch, add), column += V * lanes;
    } else if (left >= lanes) {
      spread<T, 1, B, false>(part, grads.memory, grads.pitch, to, pitch, add), column += lanes;
    } else {
      spread<T, 1, B, true>(part, grads.memory, grads.pitch, to, pitch, add), column += lanes;
    }
  }
}

// The windows' gradient of one position and group, for the channels from column `first` of the weights on.
template <class T>
void backward(const Division<Wide<T>> &cut, const T *weight, int64_t position, int64_t group, int64_t first,
              int64_t columns, const Images<Wide<T>> &grads, Wide<T> *windows) {
  const int64_t passes = blocks(grads.count, kBlock);
  in_parts(cut.conv.out, slab_rows<T>(cut.conv), [&](int64_t slab, int64_t count) {
    const Rows<T> rows = rows_of(cut.conv, weight, position, group, slab, count, first, columns);
    in_blocks(grads.count, [&](int64_t image, int64_t images) {
      const Images<Wide<T>> block{grads.memory + image * grads.pitch + slab, grads.pitch, images};
      Wide<T> *to = windows + image * cut.pitch;
      const int64_t pass = image / kBlock;
      if (images == 8) spread_columns<T, kBlock>(rows, block, to, cut.pitch, slab > 0, pass, passes);
      if (images == 4) spread_columns<T, 4>(rows, block, to, cut.pitch, slab > 0, pass, passes);
      if (images == 2) spread_columns<T, 2>(rows, block, to, cut.pitch, slab > 0, pass, passes);
      if (images == 1) spread_columns<T, 1>(rows, block, to, cut.pitch, slab > 0, pass, passes);
    });
  });
}

// Blocks of outputs along one axis, in two colours: blocks of one colour have no input sample in common, so that
// threads add to the gradient without waiting for each other, and always in the same order.
struct Colours {
  int axis;
  int64_t count;  // of blocks
  int64_t slices;  // of a group's channels, each a unit of its own

  explicit Colours(const Local &c) : axis(0) {
    while (axis < 2 && c.outputs[axis] == 1) ++axis;
    const int64_t span = (c.kernel[axis] - 1) * c.dilation[axis] + 1;
    const int64_t least = larger(blocks(span, c.stride[axis]) - 1, 1);  // keeps blocks of one colour apart
    count = larger(smaller(c.outputs[axis] / least, 4 * c.threads), 1);
    slices = smaller(c.in, blocks(c.threads, blocks(count, 2) * c.groups));
    if (count <= 2 && c.threads > 1) slices = smaller(c.in, blocks(c.threads, c.groups));
  }
  int64_t begin(const Local &c, int64_t block) const { return c.outputs[axis] * block / count; }
};

template <class T>
int input(const Local &conv, const T *grad, const T *weight, Wide<T> *x) {
  typedef Wide<T> W;
  const Colours colours(conv);
  const int64_t slice = blocks(conv.in, colours.slices), slices = blocks(conv.in, slice);
  const int64_t taps = conv.kernel[0] * conv.kernel[1] * conv.kernel[2];
  const Division<W> cut(conv, slice, false);
  const auto run_of_outputs = [&](const Desk<W> &desk, const Run &run, int64_t group, int64_t first, int64_t channels) {
    in_parts(conv.batch, cut.images, [&](int64_t image, int64_t images) {
      const Strip<W> strip{conv, desk.strip, image, images, group * conv.in + first, channels, run};
      strip.clear();
      read_tile(cut, strip, group, grad, desk.tile);
      for (int64_t place = 0; place < run.count; ++place) {
        const Images<W> grads{desk.tile + place * images * conv.out, conv.out, images};
        backward(cut, weight, cut.position(run) + place, group, first * taps, channels * taps, grads, desk.windows);
        strip.add_window(place, desk.windows, cut.pitch);
      }
      strip.add_to(x);
    });
  };
  bool complete = true;
  for (int64_t colour = 0; colour < 2; ++colour) {
    const int64_t same = (colours.count + 1 - colour) / 2, parts = conv.groups * slices;
    complete &= share(same * parts, conv.threads, cut.bytes(), [&](int64_t unit, void *memory) {
      const int64_t block = unit / parts * 2 + colour, group = unit % parts / slices, first = unit % slices * slice;
      int64_t begin[3] = {0, 0, 0}, end[3] = {conv.outputs[0], conv.outputs[1], conv.outputs[2]};
      begin[colours.axis] = colours.begin(conv, block), end[colours.axis] = colours.begin(conv, block + 1);
      for (int64_t depth = begin[0]; depth < end[0]; ++depth)
        for (int64_t row = begin[1]; row < end[1]; ++row)
          in_parts(end[2] - begin[2], cut.run, [&](int64_t column, int64_t count) {
            const Run run{depth, row, begin[2] + column, count};
            run_of_outputs(Desk<W>(memory, cut), run, group, first, smaller(slice, conv.in - first));
          });
    });
  }
  return complete ? kDone : kNoMemory;
}

// V vectors of columns, or the first `part` numbers of one, of all rows of a position's weights.
template <class T, int V>
void correlate_rows(T *weights, int64_t pitch, int64_t rows, const Images<Wide<T>> &grads,
                    const Images<Wide<T>> &windows, int64_t part, bool past_caches) {
  Images<Wide<T>> from = grads;
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows, from.memory += kRows)
    correlate_images<T, kRows, V>(weights + row * pitch, pitch, from, windows, part, past_caches);
  for (; row < rows; ++row, ++from.memory)
    correlate_images<T, 1, V>(weights + row * pitch, pitch, from, windows, part, past_caches);
}

template <class T>
int weight(const Local &conv, const T *x, const T *grad, T *to) {
  typedef Wide<T> W;
  constexpr int64_t lanes = kLanes<W>;
  const Division<W> cut(conv, conv.in, true);
  const int64_t size = cut.units() * cut.run * conv.groups * conv.out * cut.columns * int64_t(sizeof(T));
  const bool aligned = reinterpret_cast<uintptr_t>(to) % kBytes == 0 && cut.columns % lanes == 0;
  const bool past_caches = aligned && size >= kPastCaches;
  const bool complete = share(cut.units(), conv.threads, cut.bytes(), [&](int64_t unit, void *memory) {
    const Desk<W> desk(memory, cut);
    const Run run = cut.at(unit);
    for (int64_t group = 0; group < conv.groups; ++group) {
      const Strip<W> strip{conv, desk.strip, 0, conv.batch, group * conv.in, conv.in, run};
      const Images<W> windows{desk.windows, cut.pitch, conv.batch};
      strip.fill(x);
      read_tile(cut, strip, group, grad, desk.tile);
      for (int64_t place = 0; place < run.count; ++place) {
        strip.window(place, desk.windows, cut.pitch);
        const Images<W> grads{desk.tile + place * conv.batch * conv.out, conv.out, conv.batch};
        T *memory = to + ((cut.position(run) + place) * conv.groups + group) * conv.out * cut.columns;
        for (int64_t column = 0; column < cut.columns;) {
          const int64_t left = cut.columns - column;
          const Images<W> from{windows.memory + column, windows.pitch, windows.count};
          if (left >= kColumns * lanes) {
            correlate_rows<T, kColumns>(memory + column, cut.columns, conv.out, grads, from, 0, past_caches);
            column += kColumns * lanes;
          } else {
            const int64_t part = left < lanes ? left : 0;
            correlate_rows<T, 1>(memory + column, cut.columns, conv.out, grads, from, part, past_caches);
            column += lanes;
          }
        }
      }
    }
    stream_end();
  });
  return complete ? kDone : kNoMemory;
}

}  // namespace

int unshared_output(const Local &conv, const void *x, const void *w, void *y) {
  BY_TYPE(T, return output(conv, static_cast<const T *>(x), static_cast<const T *>(w), static_cast<T *>(y)));
}

int unshared_input(const Local &conv, const void *grad, const void *w, void *x) {
  BY_TYPE(T, return input(conv, static_cast<const T *>(grad), static_cast<const T *>(w), static_cast<Wide<T> *>(x)));
}

int unshared_weight(const Local &conv, const void *x, const void *grad, void *w) {
  BY_TYPE(T, return weight(conv, static_cast<const T *>(x), static_cast<const T *>(grad), static_cast<T *>(w)));
}

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
