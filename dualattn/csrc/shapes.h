// Sizes of one call, as plain numbers: what the binding hands to the kernels of every device. CUDA compiles the constexpr
// functions for the device too.
#pragma once

#include <cstdint>

namespace dualattn {

// What every kernel can take. Arrays in shared memory and compiled widths are sized by these numbers, and the binding
// refuses what exceeds them; dualattn/ops/backends.py repeats them for calls that never reach the binding.
constexpr int64_t kMaxTokens = 256;  // of a dilated window
constexpr int64_t kMaxDim = 64;      // of a head, or of a channel group

// Separable dilated attention: qkv (batch, height, width, 3 * heads * dim), NHWC and contiguous.
// Window (i, j) holds the tokens (i + r * stride_h, j + c * stride_w), r < grid_h, c < grid_w, that lie on the map.
// Tokens that would lie beyond it (a side that the grid does not divide, or that is shorter than the grid) are left
// out of every softmax and never read or written. A stride is ceil(side / grid) <= side: each window keeps a token.
struct SdaShape {
  int64_t batch, height, width;
  int64_t heads, dim;
  int64_t grid_h, grid_w;
  int64_t stride_h, stride_w;
  float scale;

  constexpr int64_t channels() const { return heads * dim; }
  constexpr int64_t windows() const { return batch * stride_h * stride_w; }
  // of the largest window
  constexpr int64_t tokens() const {
    return ((height + stride_h - 1) / stride_h) * ((width + stride_w - 1) / stride_w);
  }
};

// Factorized channel attention: qkv (batch, tokens, 3 * groups * dim), contiguous.
// The attention matrix of a group is kept with the keys first: (batch, groups, key channel, query channel), float32.
struct FcaShape {
  int64_t batch, tokens;
  int64_t groups, dim;
  float scale;

  constexpr int64_t channels() const { return groups * dim; }
};

}  // namespace dualattn
