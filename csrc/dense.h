// Convolutions of many channels by transforms: every point of the spectrum is one product of matrices.
//
// Spectra of tiles lie as [point][tile][group][part][channel], those of kernels as [point][group][in][part][out]; where
// channels are few, vectors run along the tiles instead: [point][group][channel][part][tile] and
// [point][group][out][part][in]. A part is real or imaginary. A chunk of tiles is transformed, multiplied and transformed
// back at a time; the spectra of the outputs take the place of those of the inputs.
#pragma once

#include "cut.h"
#include "machine.h"
#include "product.h"
#include "threads.h"
#include "tile.h"
#include "workspace.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int64_t kSome = 96;  // tiles of one unit of work

template <class Tile>
struct Dense {
  static constexpr int64_t kParts = Tile::kParts;

  const Transform &t;
  const typename Tile::Plan plan;
  const Cut cut;
  const int64_t points;

  explicit Dense(const Transform &transform) : t(transform), plan(t), cut(t), points(plan.points()) {}

  // Whether vectors run along the tiles.
  bool along_tiles() const { return whole_vectors(t.outs) * cut.tiles > whole_vectors(cut.tiles) * t.outs; }

  // Floats between the points of the kernels' spectra; a vector more than needed, against conflicts in the caches.
  int64_t kernel_pitch() const {
    const int64_t rows = along_tiles() ? t.outs : t.ins, columns = along_tiles() ? t.ins : t.outs;
    return t.groups * rows * kParts * whole_vectors(columns) + kWidth;
  }

  bool kernels(const float *weight, float *to) const {
    const int64_t taps = t.kernel_height * t.kernel_width;
    const int64_t out_step = t.adjoint ? taps : t.ins * taps, in_step = t.adjoint ? t.outs * taps : taps;
    const bool turned = along_tiles();
    const int64_t rows = turned ? t.outs : t.ins, row_step = turned ? out_step : in_step;
    const int64_t columns = turned ? t.ins : t.outs, column_step = turned ? in_step : out_step;
    const int64_t wide = whole_vectors(columns), each = wide / kWidth, pitch = kernel_pitch();
    return share(t.groups * rows * each, t.threads, plan.bytes(), [&](int64_t unit, void *memory) {
      const int64_t column = unit % each * kWidth, row = unit / each % rows, group = unit / each / rows;
      const float *from = weight + group * t.outs * t.ins * taps + row * row_step + column * column_step;
      Tile(plan, memory).kernel(cut.kernels(from, column_step, columns - column),
                                {to + (group * rows + row) * kParts * wide + column, pitch, wide});
    });
  }

  int output(const float *x, const float *kernel, const float *bias, float *y) const {
    const bool turned = along_tiles();
    const int64_t channels = larger(whole_vectors(t.ins), whole_vectors(t.outs));
    const int64_t row = t.groups * kParts * (turned ? larger(t.ins, t.outs) : channels);
    const int64_t unit = turned ? kWidth : 1, most = larger(1, room() / (points * row * unit * 4));
    const int64_t chunk = smaller(blocks(cut.tiles, blocks(blocks(cut.tiles, unit), most)), most * unit);
    const Chunk shape{blocks(chunk, unit) * unit, row, blocks(chunk, unit) * unit * row + kWidth};
    float *spectra = static_cast<float *>(workspace(kSpectra, size_t(points * shape.pitch) * sizeof(float)));
    if (!spectra) return kNoMemory;
    for (int64_t first = 0; first < cut.tiles; first += shape.tiles) {
      const int64_t count = smaller(shape.tiles, cut.tiles - first);
      const bool done = turned ? tiles_of_channels(shape, first, count, x, kernel, bias, y, spectra)
                               : channels_of_tiles(shape, first, count, x, kernel, bias, y, spectra);
      if (!done) return kNoMemory;
    }
    return kDone;
  }

  int weight_grad(const float *x, const float *y, float *weight) const {
    const int64_t ins = whole_vectors(t.ins), outs = whole_vectors(t.outs), row = t.groups * kParts * (ins + outs);
    const int64_t most = larger(1, room() / (points * row * 4)), chunk = blocks(cut.tiles, blocks(cut.tiles, most));
    const int64_t pitch = chunk * row + kWidth, total = t.groups * t.outs * kParts * ins + kWidth;
    float *spectra = static_cast<float *>(workspace(kSpectra, size_t(points * pitch) * sizeof(float)));
    float *sums = static_cast<float *>(workspace(kKernels, size_t(points * total) * sizeof(float)));
    if (!spectra || !sums) return kNoMemory;
    bool done = true;
    for (int64_t first = 0; done && first < cut.tiles; first += chunk) {
      const int64_t count = smaller(chunk, cut.tiles - first);
      done = transform<false>(x, true, t.ins, first, count, nullptr, spectra, row, pitch) &&
             transform<false>(y, false, t.outs, first, count, nullptr, spectra + t.groups * kParts * ins, row, pitch) &&
             share(points * t.groups, t.threads, 1, [&](int64_t unit, void *) {
               const int64_t group = unit % t.groups, point = unit / t.groups;
               float *from = spectra + point * pitch + group * kParts * ins;
               float *grad = spectra + point * pitch + t.groups * kParts * ins + group * kParts * outs;
               float *to = sums + point * total + group * t.outs * kParts * ins;
               for (int64_t tile = 0; tile < count; tile += kSome)
                 for (int64_t out = 0; out < t.outs; out += kRows)
                   few_rows<kParts == 2>({grad + tile * row + out, 1, row, outs}, {from + tile * row, row, 1, ins},
                                         {to + out * kParts * ins, kParts * ins, 1, ins}, smaller(kRows, t.outs - out),
                                         ins, smaller(kSome, count - tile), first + tile > 0);
             });
    }
    const int64_t each = ins / kWidth, taps = t.kernel_height * t.kernel_width;
    done = done && share(t.groups * t.outs * each, t.threads, plan.bytes(), [&](int64_t unit, void *memory) {
      const int64_t in = unit % each * kWidth, out = unit / each;
      Tile(plan, memory).weight({sums + out * kParts * ins + in, total, ins},
                                cut.kernels(weight + (out * t.ins + in) * taps, taps, t.ins - in));
    });
    return done ? kDone : kNoMemory;
  }

 private:
  // Bytes for the spectra of a chunk: as few as pay for reading those of all kernels once more.
  int64_t room() const { return smaller(t.room, larger(kCached, 2 * points * kernel_pitch() * 4)); }

  struct Chunk {
    int64_t tiles, row, pitch;  // floats of one tile at one point, and of all
  };

  // Tiles first .. first + count - 1 of x, of y's gradient, or from spectra to y.
  template <bool back>
  bool transform(const float *data, bool is_x, int64_t channels, int64_t first, int64_t count, const float *bias,
                 float *spectra, int64_t row, int64_t pitch, int64_t wide = 0) const {
    const int64_t each = blocks(channels, kWidth), width = wide ? wide : each * kWidth, runs = blocks(count, Tile::kRun);
    return share(runs * t.groups * each, t.threads, plan.bytes(), [&](int64_t unit, void *memory) {
      const int64_t start = unit % each * kWidth, group = unit / each % t.groups, run = unit / each / t.groups * Tile::kRun;
      const int64_t channel = group * channels + start, end = smaller(run + Tile::kRun, count);
      Tile one(plan, memory);
      for (int64_t tile = run; tile < end; ++tile) {
        const Lanes lanes = cut.channels(data, is_x, first + tile, channel, channels - start);
        const Spectrum spectrum{spectra + tile * row + group * kParts * width + start, pitch, width};
        if (back) {
          one.output(spectrum, lanes, bias_of(bias, channel, lanes.count));
        } else if (is_x) {
          one.input(lanes, spectrum);
        } else {
          one.gradient(lanes, spectrum);
        }
      }
    });
  }

  static vec<float> bias_of(const float *bias, int64_t channel, int64_t count) {
    vec<float> found{};
    for (int64_t i = 0; bias && i < count; ++i) found[i] = bias[channel + i];
    return found;
  }

  bool channels_of_tiles(const Chunk &shape, int64_t first, int64_t count, const float *x, const float *kernel,
                         const float *bias, float *y, float *spectra) const {
    const int64_t outs = whole_vectors(t.outs), wide = larger(whole_vectors(t.ins), outs), parts = blocks(count, kSome);
    return transform<false>(x, true, t.ins, first, count, nullptr, spectra, shape.row, shape.pitch, wide) &&
           share(points * parts, t.threads, size_t(kRows * kParts * outs) * 4, [&](int64_t unit, void *memory) {
             const int64_t point = unit / parts, from = unit % parts * kSome, end = smaller(from + kSome, count);
             float *place = static_cast<float *>(memory);
             for (int64_t group = 0; group < t.groups; ++group) {
               float *factor = const_cast<float *>(kernel) + point * kernel_pitch() + group * t.ins * kParts * outs;
               for (int64_t tile = from; tile < end; tile += kRows) {
                 const int64_t rows = smaller(kRows, end - tile);
                 float *at = spectra + point * shape.pitch + tile * shape.row + group * kParts * wide;
                 few_rows<kParts == 2>({at, shape.row, 1, wide}, {factor, kParts * outs, 1, outs},
                                       {place, kParts * outs, 1, outs}, rows, outs, t.ins, false);
                 for (int64_t i = 0; i < rows * kParts; ++i)
                   std::memcpy(at + i / kParts * shape.row + i % kParts * wide, place + i * outs, size_t(outs) * 4);
               }
             }
           }) &&
           transform<true>(y, false, t.outs, first, count, bias, spectra, shape.row, shape.pitch, wide);
  }

  bool tiles_of_channels(const Chunk &shape, int64_t first, int64_t count, const float *x, const float *kernel,
                         const float *bias, float *y, float *spectra) const {
    const int64_t wide = shape.tiles, channels = larger(t.ins, t.outs), ins = whole_vectors(t.ins);
    const int64_t each = blocks(count, kWidth), strips = blocks(each, kVectors), strip = kVectors * kWidth;
    const auto transformed = [&](int64_t planes, bool back) {
      return share(t.groups * planes * each, t.threads, plan.bytes(), [&](int64_t unit, void *memory) {
        const int64_t tile = unit % each * kWidth, plane = unit / each % planes, group = unit / each / planes;
        float *place = spectra + (group * channels + plane) * kParts * wide + tile;
        const int64_t channel = group * planes + plane;
        const Spectrum spectrum{place, shape.pitch, wide};
        Tile one(plan, memory);
        if (back) {
          one.output(spectrum, cut.tiles_of(y, false, first + tile, channel), spread(bias ? bias[channel] : 0));
        } else {
          one.input(cut.tiles_of(x, true, first + tile, channel), spectrum);
        }
      });
    };
    return transformed(t.ins, false) &&
           share(points * t.groups * strips, t.threads, size_t(t.outs * kParts * strip) * 4, [&](int64_t unit, void *memory) {
             const int64_t tile = unit % strips * strip, group = unit / strips % t.groups, point = unit / strips / t.groups;
             const int64_t columns = smaller(strip, each * kWidth - tile);
             float *at = spectra + point * shape.pitch + group * channels * kParts * wide + tile;
             float *place = static_cast<float *>(memory);
             float *factor = const_cast<float *>(kernel) + point * kernel_pitch() + group * t.outs * kParts * ins;
             for (int64_t out = 0; out < t.outs; out += kRows)
               few_rows<kParts == 2>({factor + out * kParts * ins, kParts * ins, 1, ins}, {at, kParts * wide, 1, wide},
                                     {place + out * kParts * strip, kParts * strip, 1, strip},
                                     smaller(kRows, t.outs - out), columns, t.ins, false);
             for (int64_t i = 0; i < t.outs * kParts; ++i)
               std::memcpy(at + i * wide, place + i * strip, size_t(columns) * 4);
           }) &&
           transformed(t.outs, true);
  }

  static vec<float> spread(float value) { return value + vec<float>{}; }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
