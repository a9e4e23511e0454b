// Convolutions in which each output channel reads one input channel, by transforms: a tile never leaves the cache.
//
// Vectors run along the channels or along the tiles; kernels' spectra lie as [point][part][channel].
#pragma once

#include "cut.h"
#include "machine.h"
#include "threads.h"
#include "tile.h"
#include "workspace.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

struct Pointwise {
  const Transform &t;
  const FourierTile::Plan plan;
  const Cut cut;
  const int64_t points, channels, wide, pitch;

  explicit Pointwise(const Transform &transform)
      : t(transform), plan(t), cut(t), points(plan.points()), channels(t.groups * t.outs),
        wide(whole_vectors(channels)), pitch(2 * wide) {}

  int64_t kernel_pitch() const { return pitch; }

  bool along_tiles() const {
    return t.outs > 1 || whole_vectors(channels) * cut.tiles > whole_vectors(cut.tiles) * channels;
  }

  bool kernels(const float *weight, float *to) const {
    const int64_t taps = t.kernel_height * t.kernel_width;
    return share(wide / kWidth, t.threads, plan.bytes(), [&](int64_t unit, void *memory) {
      const int64_t channel = unit * kWidth;
      FourierTile(plan, memory)
          .kernel(cut.kernels(weight + channel * taps, taps, channels - channel), {to + channel, pitch, wide});
    });
  }

  int output(const float *x, const float *kernel, const float *bias, float *y) const {
    const int64_t tiles = blocks(cut.tiles, kWidth), lanes = blocks(channels, kWidth);
    const bool turned = along_tiles();
    const int64_t units = turned ? channels * tiles : cut.tiles * lanes;
    return share(units, t.threads, bytes(1), [&](int64_t unit, void *memory) {
             FourierTile tile(plan, memory);
             const Spectrum own = local(memory, 0);
             if (turned) {
               const int64_t channel = unit / tiles, first = unit % tiles * kWidth;
               tile.input(cut.tiles_of(x, true, first, channel / t.outs), own);
               multiply<true>(own, kernel + channel);
               tile.output(own, cut.tiles_of(y, false, first, channel), (bias ? bias[channel] : 0) + vec<float>{});
             } else {
               const int64_t channel = unit % lanes * kWidth, first = unit / lanes, count = channels - channel;
               tile.input(cut.channels(x, true, first, channel, count), own);
               multiply<false>(own, kernel + channel);
               vec<float> added{};
               for (int64_t i = 0; bias && i < smaller(count, kWidth); ++i) added[i] = bias[channel + i];
               tile.output(own, cut.channels(y, false, first, channel, count), added);
             }
           })
               ? kDone
               : kNoMemory;
  }

  // Sums over shares of the tiles, then over the shares.
  int weight_grad(const float *x, const float *y, float *weight) const {
    const bool turned = along_tiles();
    const int64_t rows = turned ? channels : blocks(channels, kWidth), tiles = turned ? blocks(cut.tiles, kWidth) : cut.tiles;
    const int64_t shares = smaller(tiles, blocks(kShares * t.threads, rows)), size = points * 2 * kWidth;
    float *sums = static_cast<float *>(workspace(kSpectra, size_t(rows * shares * size) * sizeof(float)));
    if (!sums) return kNoMemory;
    bool done = share(rows * shares, t.threads, bytes(2), [&](int64_t unit, void *memory) {
      const int64_t row = unit / shares, part = unit % shares;
      FourierTile tile(plan, memory);
      const Spectrum first = local(memory, 0), second = local(memory, 1), sum{sums + unit * size, 2 * kWidth, kWidth};
      std::memset(sum.data, 0, size_t(size) * 4);
      for (int64_t at = part * tiles / shares; at < (part + 1) * tiles / shares; ++at) {
        const int64_t channel = turned ? row : row * kWidth, count = channels - channel;
        tile.input(turned ? cut.tiles_of(x, true, at * kWidth, channel / t.outs) : cut.channels(x, true, at, channel, count), first);
        tile.gradient(turned ? cut.tiles_of(y, false, at * kWidth, channel) : cut.channels(y, false, at, channel, count), second);
        accumulate(first, second, sum);
      }
    });
    const int64_t taps = t.kernel_height * t.kernel_width;
    done = done && share(wide / kWidth, t.threads, bytes(1), [&](int64_t unit, void *memory) {
      const int64_t channel = unit * kWidth;
      const Spectrum whole = local(memory, 0);
      gather(sums, turned, channel, shares, whole);
      FourierTile(plan, memory).weight(whole, cut.kernels(weight + channel * taps, taps, channels - channel));
    });
    return done ? kDone : kNoMemory;
  }

 private:
  size_t bytes(int spectra) const { return room() + size_t(spectra * points) * 2 * kWidth * sizeof(float); }
  size_t room() const { return (plan.bytes() + kLine - 1) / kLine * kLine; }
  Spectrum local(void *memory, int64_t number) const {
    float *first = reinterpret_cast<float *>(static_cast<char *>(memory) + room());
    return {first + number * points * 2 * kWidth, 2 * kWidth, kWidth};
  }

  template <bool one>
  static vec<float> factor(const float *from) {
    if (one) return *from + vec<float>{};
    return load(from);
  }

  // one: the same kernel for all lanes.
  template <bool one>
  void multiply(Spectrum spectrum, const float *kernel) const {
    for (int64_t p = 0; p < points; ++p, kernel += pitch) {
      float *at = spectrum.data + p * spectrum.point;
      const vec<float> a = load(at), b = load(at + kWidth), c = factor<one>(kernel), d = factor<one>(kernel + wide);
      store(at, a * c - b * d);
      store(at + kWidth, a * d + b * c);
    }
  }

  void accumulate(Spectrum first, Spectrum second, Spectrum sum) const {
    for (int64_t at = 0; at < points * 2 * kWidth; at += 2 * kWidth) {
      const vec<float> a = load(first.data + at), b = load(first.data + at + kWidth);
      const vec<float> c = load(second.data + at), d = load(second.data + at + kWidth);
      store(sum.data + at, load(sum.data + at) + (a * c - b * d));
      store(sum.data + at + kWidth, load(sum.data + at + kWidth) + (a * d + b * c));
    }
  }

  // The sums of a vector of channels over all shares, and over the lanes where those are tiles.
  void gather(const float *sums, bool turned, int64_t channel, int64_t shares, Spectrum whole) const {
    const int64_t size = points * 2 * kWidth;
    for (int64_t at = 0; at < size; at += kWidth) {
      vec<float> total{};
      if (turned) {
        for (int64_t lane = 0; lane < smaller(kWidth, channels - channel); ++lane)
          for (int64_t part = 0; part < shares; ++part)
            total[lane] += float(sum<float>(load(sums + ((channel + lane) * shares + part) * size + at)));
      } else {
        for (int64_t part = 0; part < shares; ++part) total += load(sums + (channel / kWidth * shares + part) * size + at);
      }
      store(whole.data + at, total);
    }
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
