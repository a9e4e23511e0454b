// Convolutions as transforms of tiles, products point by point over the channels, and transforms back.
//
// Spectra lie as [point][tile][group][re, im][channel], so that each point is a product of matrices; where channels are
// few, as [point][channel][re, im][tile]; where each channel has its own kernel, a tile never leaves the cache.
#pragma once

#include <omp.h>

#include "interface.h"
#include "product.h"
#include "room.h"
#include "tile.h"

namespace LEVEL {

inline int64_t padded(int64_t count) { return (count + W - 1) / W * W; }

// How the image of one request is cut.
class Cut {
 public:
  explicit Cut(const TransformJob& job) : j(job) {
    down = (job.out_y + job.step_y - 1) / job.step_y;
    along = (job.out_x + job.step_x - 1) / job.step_x;
    tiles = job.batch * down * along;
    points = Tile::points(job.length_y, job.length_x);
    scale = 1.f / (float(job.length_y) * job.length_x);
  }

  // Channels channel.. of one tile of the input.
  Lanes samples(const float* x, int64_t tile, int64_t channel, int64_t count) const {
    Lanes lanes = channels(j.x, count);
    place(lanes, 0, const_cast<float*>(x), j.x, tile, channel, true);
    repeat(lanes, j.x);
    return lanes;
  }
  // The same channels' outputs of one tile.
  Lanes outputs(const float* y, int64_t tile, int64_t channel, int64_t count) const {
    Lanes lanes = channels(j.y, count);
    place(lanes, 0, const_cast<float*>(y), j.y, tile, channel, false);
    repeat(lanes, j.y);
    return lanes;
  }
  // Tiles tile.. of one channel.
  Lanes tiled(const float* data, int64_t tile, int64_t channel, int64_t count, bool input) const {
    const int64_t* strides = input ? j.x : j.y;
    Lanes lanes = {};
    lanes.count = int(count);
    lanes.row = strides[2];
    lanes.pixel = strides[3];
    for (int i = 0; i < count; i++) place(lanes, i, const_cast<float*>(data), strides, tile + i, channel, input);
    return lanes;
  }

  const TransformJob& j;
  int64_t down, along, tiles, points;
  float scale;

 private:
  static Lanes channels(const int64_t* strides, int64_t count) {
    Lanes lanes = {};
    lanes.alike = true;
    lanes.count = int(std::min<int64_t>(count, W));
    lanes.row = strides[2];
    lanes.pixel = strides[3];
    lanes.lane = strides[1];
    return lanes;
  }
  static void repeat(Lanes& lanes, const int64_t* strides) {
    for (int i = 1; i < lanes.count; i++) {
      lanes.origin[i] = lanes.origin[0] + i * strides[1];
      lanes.window[i] = lanes.window[0];
    }
  }
  void place(Lanes& lanes, int lane, float* data, const int64_t* strides, int64_t tile, int64_t channel,
             bool input) const {
    int64_t image = tile / (down * along), y = tile / along % down * j.step_y, x = tile % along * j.step_x;
    if (input) {
      y += j.start_y;
      x += j.start_x;
      lanes.window[lane] = {int(-y), int(j.size_y - y), int(-x), int(j.size_x - x)};
    } else {
      lanes.window[lane] = {0, int(std::min(j.step_y, j.out_y - y)), 0, int(std::min(j.step_x, j.out_x - x))};
    }
    lanes.origin[lane] = data + image * strides[0] + channel * strides[1] + y * strides[2] + x * strides[3];
  }
};

inline Vec biases(const float* bias, int64_t channel, int64_t count) {
  Vec found = {};
  for (int i = 0; bias && i < std::min<int64_t>(count, W); i++) found[i] = bias[channel + i];
  return found;
}

inline int64_t kernel_point(const KernelJob& job, int64_t) {
  return job.groups * job.rows * 2 * padded(job.columns) + W;
}

// Kernels (groups, rows, columns) with any strides to [point][group][row][re, im][column].
inline void kernels(const KernelJob& job, const float* weight, float* to) {
  int64_t width = padded(job.columns), blocks = width / W, items = job.groups * job.rows * blocks;
  int64_t point = kernel_point(job, W);
#pragma omp parallel num_threads(job.threads)
  {
    Tile tile(job.length_y, job.length_x, Room::own(Tile::needed(job.length_y, job.length_x)));
#pragma omp for schedule(dynamic, 4)
    for (int64_t item = 0; item < items; item++) {
      int64_t column = item % blocks * W, row = item / blocks % job.rows, group = item / blocks / job.rows;
      Lanes lanes = {};
      lanes.alike = true;
      lanes.count = int(std::min<int64_t>(W, job.columns - column));
      lanes.row = job.kernel_stride[0];
      lanes.pixel = job.kernel_stride[1];
      lanes.lane = job.column_stride;
      const float* first = weight + group * job.group_stride + row * job.row_stride + column * job.column_stride;
      for (int i = 0; i < lanes.count; i++) {
        lanes.origin[i] = const_cast<float*>(first) + i * job.column_stride;
        lanes.window[i] = {0, int(job.kernel_y), 0, int(job.kernel_x)};
      }
      tile.analyse(lanes, job.conjugate, {to + (group * job.rows + row) * 2 * width + column, point, width});
    }
  }
}

// Many channels: a chunk of tiles at a time, the outputs' spectra in the place of the inputs'.
inline void correlate_dense(const TransformJob& j, const float* x, const float* kernel, const float* bias, float* y) {
  Cut cut(j);
  int64_t in_width = padded(j.ins), out_width = padded(j.outs), width = std::max(in_width, out_width);
  int64_t row = j.groups * 2 * width, most = std::max<int64_t>(1, j.room / (cut.points * row * 4));
  int64_t chunks = (cut.tiles + most - 1) / most, chunk = (cut.tiles + chunks - 1) / chunks;
  int64_t point = chunk * row + W, kernel_stride = j.groups * j.ins * 2 * out_width + W;
  float* spectra = Room::shared(cut.points * point);
  size_t need = Tile::needed(j.length_y, j.length_x), extra = ROWS * 2 * out_width / W;
  int64_t in_blocks = in_width / W, out_blocks = out_width / W;
#pragma omp parallel num_threads(j.threads)
  {
    Vec* own = Room::own(need + extra);
    Tile tile(j.length_y, j.length_x, own);
    float* place = reinterpret_cast<float*>(own + need);
    for (int64_t first = 0; first < cut.tiles; first += chunk) {
      int64_t count = std::min(chunk, cut.tiles - first);
#pragma omp for schedule(dynamic, 2)
      for (int64_t item = 0; item < count * j.groups * in_blocks; item++) {
        int64_t c = item % in_blocks * W, group = item / in_blocks % j.groups, t = item / in_blocks / j.groups;
        tile.analyse(cut.samples(x, first + t, group * j.ins + c, j.ins - c), false,
                     {spectra + t * row + group * 2 * width + c, point, width});
      }
#pragma omp for schedule(dynamic, 2)
      for (int64_t p = 0; p < cut.points; p++)
        for (int64_t group = 0; group < j.groups; group++)
          for (int64_t t = 0; t < count; t += ROWS) {
            int rows = int(std::min<int64_t>(ROWS, count - t));
            float* at = spectra + p * point + t * row + group * 2 * width;
            Matrix a = {at, ptrdiff_t(row), 1, ptrdiff_t(width)};
            Matrix b = {const_cast<float*>(kernel) + p * kernel_stride + group * j.ins * 2 * out_width,
                        ptrdiff_t(2 * out_width), 1, ptrdiff_t(out_width)};
            few_rows<true>(a, b, {place, ptrdiff_t(2 * out_width), 1, ptrdiff_t(out_width)}, rows, int(out_width),
                           int(j.ins), false);
            for (int i = 0; i < rows; i++) {
              std::memcpy(at + i * row, place + i * 2 * out_width, sizeof(float) * out_width);
              std::memcpy(at + i * row + width, place + (2 * i + 1) * out_width, sizeof(float) * out_width);
            }
          }
#pragma omp for schedule(dynamic, 2)
      for (int64_t item = 0; item < count * j.groups * out_blocks; item++) {
        int64_t c = item % out_blocks * W, group = item / out_blocks % j.groups, t = item / out_blocks / j.groups;
        int64_t channel = group * j.outs + c;
        tile.synthesise({spectra + t * row + group * 2 * width + c, point, width},
                        cut.outputs(y, first + t, channel, j.outs - c), int(j.first_y), int(j.first_x), cut.scale,
                        biases(bias, channel, j.outs - c));
      }
    }
  }
}

}  // namespace LEVEL
