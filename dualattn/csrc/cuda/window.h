// The tokens of one dilated window, as a block of threads sees them.
#pragma once

#include "../shapes.h"
#include "device.h"

namespace dualattn::cuda {

// Token t of the window is the t-th that lies on the map, row by row. Tokens beyond the map have no number: windows at
// the end of a side that the grid does not divide are smaller, and no padding exists.
struct Window {
  int64_t first;     // the number of token 0, counted over the batch
  int64_t row_step;  // from a row of the window to the next
  int column_step;
  int columns;
  int size;             // tokens
  unsigned reciprocal;  // of columns

  // t / columns as a product and a shift: exact while t * columns < 2^16, which t < columns * rows <= kMaxTokens is.
  static_assert(kMaxTokens <= 256, "the shift by 16 divides exactly up to 255 * 256");
  __host__ __device__ static unsigned reciprocal_of(int columns) { return 65536u / columns + 1; }
  __host__ __device__ static int divide(int t, unsigned reciprocal) {
    return static_cast<int>((static_cast<unsigned>(t) * reciprocal) >> 16);
  }

  __host__ __device__ int64_t token(int t) const {
    const int row = divide(t, reciprocal);
    return first + row * row_step + (t - row * columns) * column_step;
  }
};

// Window number `index` of `SdaShape::windows`.
__host__ __device__ inline Window locate(const SdaShape& shape, unsigned index) {
  const unsigned stride_h = shape.stride_h, stride_w = shape.stride_w;
  const unsigned j = index % stride_w, rest = index / stride_w, i = rest % stride_h, image = rest / stride_h;
  const unsigned columns = (static_cast<unsigned>(shape.width) - j + stride_w - 1) / stride_w;
  const unsigned rows = (static_cast<unsigned>(shape.height) - i + stride_h - 1) / stride_h;
  Window window;
  window.first = (image * shape.height + i) * shape.width + j;
  window.row_step = shape.stride_h * shape.width;
  window.column_step = static_cast<int>(stride_w);
  window.columns = static_cast<int>(columns);
  window.size = static_cast<int>(rows * columns);
  window.reciprocal = Window::reciprocal_of(window.columns);
  return window;
}

}  // namespace dualattn::cuda
