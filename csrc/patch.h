// The part of an input that a run of outputs along the last axis reads, and the windows in it.
//
// A strip holds, for some images and channels, the rows that lie under the taps, cut to the run and with zeros for what
// is padding: so a window is `columns` samples of each row, wherever the run lies. The adjoint adds windows up in a
// strip and the strip to the gradient.
#pragma once

#include "interface.h"
#include "partial.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

// A run of outputs along the last axis: its place on the other two, its first output and how many there are.
struct Run {
  int64_t depth, row, column, count;
};

constexpr int64_t kSlack = 16;  // numbers that a copy may read or write beyond its row, in buffers

template <class W>
struct Strip {
  const Local &conv;
  W *memory;
  int64_t first_image, images, first_channel, channels;  // channels: of the whole input
  Run run;

  static int64_t rows_of(const Local &conv) { return conv.kernel[0] * conv.kernel[1]; }
  static int64_t width_of(const Local &conv, int64_t count) {
    return (count - 1) * conv.stride[2] + (conv.kernel[2] - 1) * conv.dilation[2] + 1;
  }
  int64_t rows() const { return rows_of(conv); }
  int64_t width() const { return width_of(conv, run.count); }

  // visit(row of the input, row of the strip, where the input's samples begin in it and in the strip, how many).
  template <class T, class Visit>
  void each_row(T *input, const Visit &visit) const {
    const int64_t *size = conv.size, wide = width(), left = run.column * conv.stride[2] - conv.low[2];
    const int64_t begin = smaller(larger(-left, 0), wide), end = larger(begin, smaller(wide, size[2] - left));
    const int64_t all = conv.groups * conv.in;
    W *to = memory;
    for (int64_t image = first_image; image < first_image + images; ++image)
      for (int64_t channel = first_channel; channel < first_channel + channels; ++channel) {
        T *plane = input + (image * all + channel) * size[0] * size[1] * size[2];
        for (int64_t a = 0; a < conv.kernel[0]; ++a) {
          const int64_t depth = run.depth * conv.stride[0] + a * conv.dilation[0] - conv.low[0];
          for (int64_t b = 0; b < conv.kernel[1]; ++b, to += wide) {
            const int64_t row = run.row * conv.stride[1] + b * conv.dilation[1] - conv.low[1];
            const bool inside = depth >= 0 && depth < size[0] && row >= 0 && row < size[1];
            T *from = plane + (depth * size[1] + row) * size[2] + left;
            visit(from, to, inside ? begin : 0, inside ? end : 0);
          }
        }
      }
  }

  template <class T>
  void fill(const T *input) const {
    const int64_t wide = width();
    each_row(input, [wide](const T *from, W *to, int64_t begin, int64_t end) {
      for (int64_t place = 0; place < begin; ++place) to[place] = 0;
      for (int64_t place = begin; place < end; ++place) to[place] = widen(from[place]);
      for (int64_t place = end; place < wide; ++place) to[place] = 0;
    });
  }

  void clear() const { std::memset(memory, 0, size_t(images * channels * rows() * width()) * sizeof(W)); }

  void add_to(W *input) const {
    each_row(input, [](W *to, const W *from, int64_t begin, int64_t end) {
      for (int64_t place = begin; place < end; ++place) to[place] += from[place];
    });
  }

  // The window of one output of the run as rows of `pitch` numbers, one row for each image.
  void window(int64_t output, W *to, int64_t pitch) const {
    const int64_t lines = channels * rows(), wide = width(), taps = conv.kernel[2];
    for (int64_t image = 0; image < images; ++image) {
      const W *from = memory + image * lines * wide + output * conv.stride[2];
      W *row = to + image * pitch;
      if (conv.dilation[2] == 1 && taps <= 4)
        copy<4>(from, row, lines, wide, taps);
      else if (conv.dilation[2] == 1 && taps <= 8)
        copy<8>(from, row, lines, wide, taps);
      else
        for (int64_t line = 0; line < lines; ++line)
          for (int64_t tap = 0; tap < taps; ++tap) row[line * taps + tap] = from[line * wide + tap * conv.dilation[2]];
      for (int64_t place = lines * taps; place < pitch; ++place) row[place] = 0;
    }
  }

  // Its adjoint: one row for each image added to the window of an output.
  void add_window(int64_t output, const W *from, int64_t pitch) const {
    const int64_t lines = channels * rows(), wide = width(), taps = conv.kernel[2];
    for (int64_t image = 0; image < images; ++image) {
      W *to = memory + image * lines * wide + output * conv.stride[2];
      const W *row = from + image * pitch;
      if (conv.dilation[2] == 1 && taps == 3)
        add<3>(row, to, lines, wide);
      else if (conv.dilation[2] == 1 && taps == 5)
        add<5>(row, to, lines, wide);
      else
        for (int64_t line = 0; line < lines; ++line)
          for (int64_t tap = 0; tap < taps; ++tap) to[line * wide + tap * conv.dilation[2]] += row[line * taps + tap];
    }
  }

 private:
  // Whole groups of `Most` numbers are copied: what is too much is written over by the next line.
  template <int Most>
  static void copy(const W *from, W *to, int64_t lines, int64_t wide, int64_t taps) {
    for (int64_t line = 0; line < lines; ++line) std::memcpy(to + line * taps, from + line * wide, Most * sizeof(W));
  }

  template <int Taps>
  static void add(const W *from, W *to, int64_t lines, int64_t wide) {
    for (int64_t line = 0; line < lines; ++line) {
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap) to[line * wide + tap] += from[line * Taps + tap];
    }
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
