// How the arrays of one request are cut into tiles, and where those lie.
#pragma once

#include "interface.h"
#include "lanes.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

inline int64_t whole_vectors(int64_t count) { return blocks(count, kWidth) * kWidth; }

struct Cut {
  const Transform &t;
  int64_t step_down, step_along, down, along, tiles, first_row, first_column;

  explicit Cut(const Transform &transform)
      : t(transform), step_down(t.length_height - t.kernel_height + 1), step_along(t.length_width - t.kernel_width + 1),
        down(blocks(t.out_height, step_down)), along(blocks(t.out_width, step_along)), tiles(t.batch * down * along),
        first_row(t.adjoint ? t.top - t.kernel_height + 1 : -t.top),
        first_column(t.adjoint ? t.left - t.kernel_width + 1 : -t.left) {}

  // `count` channels of one tile: samples of x, or of y what the tile gives.
  Lanes channels(const float *data, bool is_x, int64_t tile, int64_t channel, int64_t count) const {
    Lanes lanes = empty(is_x, smaller(count, kWidth));
    place(lanes, 0, data, is_x, tile, channel);
    lanes.lane = (is_x ? t.x_strides : t.y_strides)[1];
    for (int64_t i = 1; i < lanes.count; ++i) {
      lanes.origin[i] = lanes.origin[0] + i * lanes.lane;
      lanes.window[i] = lanes.window[0];
    }
    return lanes;
  }

  // The same of one channel for tiles from `tile` on.
  Lanes tiles_of(const float *data, bool is_x, int64_t tile, int64_t channel) const {
    Lanes lanes = empty(is_x, smaller(tiles - tile, kWidth));
    for (int64_t i = 0; i < lanes.count; ++i) place(lanes, i, data, is_x, tile + i, channel);
    return lanes;
  }

  // `count` kernels that lie `step` apart.
  Lanes kernels(const float *first, int64_t step, int64_t count) const {
    Lanes lanes{};
    lanes.count = smaller(count, kWidth);
    lanes.row = t.kernel_width;
    lanes.pixel = 1;
    lanes.lane = step;
    for (int64_t i = 0; i < lanes.count; ++i) {
      lanes.origin[i] = const_cast<float *>(first) + i * step;
      lanes.window[i] = {0, t.kernel_height, 0, t.kernel_width};
    }
    return lanes;
  }

 private:
  Lanes empty(bool is_x, int64_t count) const {
    const int64_t *strides = is_x ? t.x_strides : t.y_strides;
    Lanes lanes{};
    lanes.count = count;
    lanes.row = strides[2];
    lanes.pixel = strides[3];
    lanes.lane = 0;
    return lanes;
  }

  void place(Lanes &lanes, int64_t lane, const float *data, bool is_x, int64_t tile, int64_t channel) const {
    const int64_t image = tile / (down * along);
    int64_t row = tile / along % down * step_down, column = tile % along * step_along;
    if (is_x) {
      row += first_row;
      column += first_column;
      lanes.window[lane] = {-row, t.height - row, -column, t.width - column};
    } else {
      lanes.window[lane] = {0, smaller(step_down, t.out_height - row), 0, smaller(step_along, t.out_width - column)};
    }
    const int64_t *strides = is_x ? t.x_strides : t.y_strides;
    const int64_t offset = image * strides[0] + channel * strides[1] + row * strides[2] + column * strides[3];
    lanes.origin[lane] = const_cast<float *>(data) + offset;
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
