// How a plane of outputs is cut into tiles whose windows fit into a thread's cache.
#pragma once

#include "machine.h"
#include "window.h"

namespace torchconv {
namespace TORCHCONV_LEVEL {

constexpr int64_t kTileColumns = 1024;

// The correlation of planes with kernels: outputs of row r read rows r * row_stride - top and on.
struct Geometry {
  int64_t height, width;                // of the plane that is read
  int64_t rows, columns;                // outputs
  int64_t kernel_rows, kernel_columns;  // taps
  int64_t row_stride, column_stride, top, left;
};

template <class W>
struct Tiling {
  int64_t tile_rows, tile_columns, row_tiles, column_tiles, pitch, window_columns, window_places;

  explicit Tiling(const Geometry &g) {
    tile_columns = smaller(g.columns, kTileColumns);
    pitch = blocks(tile_columns, kLanes<W>) * kLanes<W>;
    window_columns = blocks(pitch + blocks(g.kernel_columns, g.column_stride), kLanes<W>) * kLanes<W>;
    const int64_t row_bytes = window_columns * g.column_stride * int64_t(sizeof(W));
    tile_rows = smaller(g.rows, larger((kTileBytes / row_bytes - g.kernel_rows) / g.row_stride + 1, 8));
    row_tiles = blocks(g.rows, tile_rows);
    tile_rows = blocks(g.rows, row_tiles);
    column_tiles = blocks(g.columns, tile_columns);
    window_places = window_rows(g, tile_rows) * window_columns * g.column_stride + kLanes<W>;
  }

  int64_t tiles() const { return row_tiles * column_tiles; }
  static int64_t window_rows(const Geometry &g, int64_t rows) { return (rows - 1) * g.row_stride + g.kernel_rows; }
};

// One tile of outputs, and its window.
struct Tile {
  int64_t row, column, rows, columns, first_row, first_column, window_rows, first_real, end_real;

  template <class W>
  Tile(const Geometry &g, const Tiling<W> &tiling, int64_t number) {
    row = number / tiling.column_tiles * tiling.tile_rows;
    column = number % tiling.column_tiles * tiling.tile_columns;
    rows = smaller(tiling.tile_rows, g.rows - row);
    columns = smaller(tiling.tile_columns, g.columns - column);
    first_row = row * g.row_stride - g.top;
    first_column = column * g.column_stride - g.left;
    window_rows = Tiling<W>::window_rows(g, rows);
    first_real = larger(-first_row, 0);
    end_real = smaller(window_rows, g.height - first_row);
  }

  bool is_empty() const { return rows <= 0 || columns <= 0; }

  template <class W, class T>
  Window<W> window(const Geometry &g, const Tiling<W> &tiling, const T *plane, W *memory) const {
    const Window<W> filled{memory, window_rows, tiling.window_columns, g.column_stride};
    filled.fill(plane, g.height, g.width, first_row, first_column);
    return filled;
  }
};

}  // namespace TORCHCONV_LEVEL
}  // namespace torchconv
