// A vector of tiles that lie anywhere in memory, one in each lane: their rows read into vectors and written back.
#pragma once

#include "transpose.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int kWidth = kLanes<float>;

// The samples that are there are those of rows top .. bottom - 1 and columns left .. right - 1; the others are read as
// zeros, and not written. Samples may be there beyond the end of the tile.
struct Window {
  int64_t top, bottom, left, right;
};

struct Lanes {
  float *origin[kWidth];  // where sample (0, 0) is or would be
  Window window[kWidth];
  int64_t count;               // lanes in use; the others read zeros
  int64_t row, pixel, lane;    // steps in memory; lane: 0 where there is no one step and no one window
};

// Point p of the lanes' transforms lies at data + p * point, its imaginary part `imaginary` floats further on.
struct Spectrum {
  float *data;
  int64_t point, imaginary;
};

class Lines {
 public:
  static int64_t floats(int64_t length) { return (kWidth + 1) * whole(length); }

  // For rows of `length` samples, in a buffer of so many floats.
  Lines(int64_t length, float *memory) : length_(length), pitch_(whole(length)), copies_(memory) {
    zeros_ = copies_ + kWidth * pitch_;
    for (int64_t x = 0; x < pitch_; ++x) zeros_[x] = 0;
  }

  // Sample x of row y goes to to[x / 2 * pair + x % 2].
  void read(const Lanes &lanes, int64_t y, vec<float> *to, int64_t pair) const {
    const Window &window = lanes.window[0];
    if (lanes.lane) {
      const bool inside = y >= window.top && y < window.bottom;
      const int64_t left = inside ? window.left : length_, right = inside ? window.right : 0;
      if (lanes.lane == 1 && lanes.count == kWidth) return side_by_side(lanes, y, left, right, to, pair);
      for (int64_t x = 0; x < length_; x += 4) alike(lanes, y * lanes.row, left, right, x, to, pair);
      return;
    }
    const float *rows[kWidth];
    for (int64_t lane = 0; lane < kWidth; ++lane) rows[lane] = lane < lanes.count ? line(lanes, lane, y) : zeros_;
    for (int64_t x = 0; x < length_; x += 4) gather(rows, x, x, to, pair);
  }

  // Row y of every lane, of which sample x lies at from[x / 2 * pair + x % 2]; `first` is the first that is wanted.
  void write(const Lanes &lanes, int64_t y, const vec<float> *from, int64_t pair, int64_t first, vec<float> bias) const {
    int64_t right = lanes.window[0].right;
    if (lanes.lane == 1 && lanes.count == kWidth) {
      float *to = lanes.origin[0] + y * lanes.row;
      for (int64_t x = 0; x < right; ++x)
        store(to + x * lanes.pixel, from[(first + x) / 2 * pair + (first + x) % 2] + bias);
      return;
    }
    for (int64_t lane = 1; lane < lanes.count; ++lane) right = larger(right, lanes.window[lane].right);
    for (int64_t x = 0; x < right; x += 4) {
      vec<float> quad[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t at = first + smaller(x + i, right - 1);
        quad[i] = from[at / 2 * pair + at % 2] + bias;
      }
      scatter(lanes, y, x, quad);
    }
  }

 private:
  static int64_t whole(int64_t length) { return blocks(length, 4) * 4; }

  void side_by_side(const Lanes &lanes, int64_t y, int64_t left, int64_t right, vec<float> *to, int64_t pair) const {
    const float *from = lanes.origin[0] + y * lanes.row;
    for (int64_t x = 0; x < length_; ++x)
      to[x / 2 * pair + x % 2] = x >= left && x < right ? load(from + x * lanes.pixel) : vec<float>{};
  }

  void gather(const float *const *rows, int64_t offset, int64_t x, vec<float> *to, int64_t pair) const {
    vec<float> quad[4];
    gather_quads(rows, offset, quad);
    for (int64_t i = 0; i < 4 && x + i < length_; ++i) to[(x + i) / 2 * pair + i % 2] = quad[i];
  }

  // Samples x .. x + 3 of lanes that have one window; row: from each origin to the row.
  void alike(const Lanes &lanes, int64_t row, int64_t left, int64_t right, int64_t x, vec<float> *to,
             int64_t pair) const {
    if (lanes.pixel == 1 && x >= left && x + 4 <= right && lanes.count == kWidth)
      return gather(lanes.origin, row + x, x, to, pair);
    const float *copies[kWidth];
    for (int64_t lane = 0; lane < kWidth; ++lane) {
      copies[lane] = copies_ + 4 * lane;
      for (int64_t i = 0; i < 4; ++i) {
        const bool there = lane < lanes.count && x + i >= left && x + i < right;
        copies_[4 * lane + i] = there ? lanes.origin[lane][row + (x + i) * lanes.pixel] : 0;
      }
    }
    gather(copies, 0, x, to, pair);
  }

  // Row y of one lane: where it lies, or a copy with zeros around what is there.
  const float *line(const Lanes &lanes, int64_t lane, int64_t y) const {
    const Window &window = lanes.window[lane];
    if (y < window.top || y >= window.bottom) return zeros_;
    const float *from = lanes.origin[lane] + y * lanes.row;
    if (lanes.pixel == 1 && window.left <= 0 && window.right >= pitch_) return from;
    float *copy = copies_ + lane * pitch_;
    const int64_t left = smaller(larger(window.left, 0), length_);
    const int64_t right = larger(smaller(window.right, length_), left);
    for (int64_t x = 0; x < left; ++x) copy[x] = 0;
    for (int64_t x = left; x < right; ++x) copy[x] = from[x * lanes.pixel];
    for (int64_t x = right; x < pitch_; ++x) copy[x] = 0;
    return copy;
  }

  // Whether samples x .. x + 3 of row y are all to be written, one beside the other.
  static bool wanted(const Lanes &lanes, int64_t lane, int64_t y, int64_t x) {
    return lanes.pixel == 1 && y < lanes.window[lane].bottom && x + 4 <= lanes.window[lane].right;
  }

  // Samples x .. x + 3, as far as they are wanted.
  void scatter(const Lanes &lanes, int64_t y, int64_t x, const vec<float> *quad) const {
    if (lanes.lane && lanes.count == kWidth && wanted(lanes, 0, y, x))
      return scatter_quads(quad, lanes.origin, y * lanes.row + x);
    float *rows[kWidth];
    for (int64_t lane = 0; lane < kWidth; ++lane) {
      const bool direct = lane < lanes.count && wanted(lanes, lane, y, x);
      rows[lane] = direct ? lanes.origin[lane] + y * lanes.row + x : copies_ + 4 * lane;
    }
    scatter_quads(quad, rows, 0);
    for (int64_t lane = 0; lane < lanes.count; ++lane) {
      const Window &window = lanes.window[lane];
      if (rows[lane] != copies_ + 4 * lane || y >= window.bottom) continue;
      float *to = lanes.origin[lane] + y * lanes.row;
      for (int64_t i = 0; i < 4 && x + i < window.right; ++i) to[(x + i) * lanes.pixel] = rows[lane][i];
    }
  }

  int64_t length_, pitch_;
  float *copies_, *zeros_;
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
