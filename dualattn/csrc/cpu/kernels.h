// The CPU kernels: one table of functions for each instruction set, and the choice among them at run time.
#pragma once

#include <cstdint>

#include "../shapes.h"

namespace dualattn::cpu {

struct BFloat16 {
  uint16_t bits;
};

// Every function works on a range [begin, end) of its work items, so that the caller decides how threads share them.
// A result depends on the shape alone, never on the ranges.
template <class T>
struct Kernels {
  // work items: windows x heads, heads fastest
  void (*sda_forward)(const SdaShape&, const T* qkv, T* out, int64_t begin, int64_t end);
  void (*sda_backward)(const SdaShape&, const T* grad, const T* qkv, T* grad_qkv, int64_t begin, int64_t end);
  // work items of the channel attention: chunks of tokens x (batch x groups), groups fastest, chunks slowest
  // sums[item] = K^T Q of the item's tokens, dim x dim floats
  void (*fca_sum)(const FcaShape&, const T* qkv, float* sums, int64_t begin, int64_t end);
  // work items: batch x groups. attention = softmax over the keys of scale * (sum over chunks)
  void (*fca_softmax)(const FcaShape&, const float* sums, float* attention, int64_t begin, int64_t end);
  // out = V attention
  void (*fca_apply)(const FcaShape&, const T* qkv, const float* attention, T* out, int64_t begin, int64_t end);
  // sums[item] = V^T grad of the item's tokens
  void (*fca_grad_sum)(const FcaShape&, const T* grad, const T* qkv, float* sums, int64_t begin, int64_t end);
  // work items: batch x groups. grad_logits = scale * the gradient of softmax's input
  void (*fca_grad_softmax)(
      const FcaShape&, const float* sums, const float* attention, float* grad_logits, int64_t begin, int64_t end);
  void (*fca_grad_apply)(
      const FcaShape&, const T* grad, const T* qkv, const float* attention, const float* grad_logits, T* grad_qkv,
      int64_t begin, int64_t end);
};

// x > threshold ? scale * x^exponent + offset : slope * x + intercept
struct PhotoCurve {
  float threshold, slope, intercept, scale, exponent, offset;
};

// A colour space of a lightness l and two opponent colours a and b, as Lab is one:
//   cones = (y + cone_a * a, y, y + cone_b * b) with y = cone_scale * l + cone_offset
//   linear rgb = matrix * (cubes of the cones; below `tangent_from` a line with `tangent_slope` instead)
//   rgb = encode(linear rgb)
// A colour counts as one that rgb can show while its linear values lie in [lowest, highest], about [0, 1].
struct PhotoSpace {
  float cone_scale, cone_offset, cone_a, cone_b;
  float tangent_from, tangent_slope;
  float matrix[9];
  float lowest, highest;
  PhotoCurve encode;
};

constexpr int kTaps = 4;  // of bicubic enlargement

// l (height, width) and ab (2, ab_height, width): the colours of row y are the sum over t of weights[y][t] times row
// first[y] + t of ab. Colours that do not fit are scaled down, to the largest factor that `halvings` of an interval find.
struct JoinCall {
  const PhotoSpace* space;
  const float *l, *ab;
  const int64_t* first;
  const float* weights;
  int64_t width, ab_height;
  int64_t halvings;
  float levels;  // the largest number of a pixel
};

// l = curve(sum over the channels of tables[channel][pixel])
struct LightnessCall {
  const float* tables;  // (3, levels)
  int64_t levels;       // numbers that a pixel can have
  PhotoCurve curve;
};

struct PhotoKernels {
  // work items: rows
  void (*join8)(const JoinCall&, uint8_t* out, int64_t begin, int64_t end);
  void (*join16)(const JoinCall&, uint16_t* out, int64_t begin, int64_t end);
  // work items: pixels
  void (*lightness8)(const LightnessCall&, const uint8_t* pixels, float* l, int64_t begin, int64_t end);
  void (*lightness16)(const LightnessCall&, const uint16_t* pixels, float* l, int64_t begin, int64_t end);
};

// Layer normalisation of tokens (tokens, channels).
struct NormalizeCall {
  const float *weight, *bias;
  float eps;
  int64_t channels;
};

// A depthwise 3x3 convolution, zeros around each map, over maps (height, width, channels) that stand on one another.
struct DepthwiseCall {
  const float* x;        // the rows from `first_row` of the stack on, as far as they are needed
  const float* weights;  // (9, channels)
  // (16, channels): what is added to a token by its neighbours: 1 where there is one above, + 2 below, + 4 on the left,
  // + 8 on the right. The bias of what made x is in it, which x lacks.
  const float* biases;
  float* out;  // the whole stack
  int64_t first_row, height, width, channels;
};

// What stands between the matrix products of a residual block, float32.
struct BlockKernels {
  // work items: tokens
  void (*normalize)(const NormalizeCall&, const float* x, float* out, int64_t begin, int64_t end);
  void (*add_bias_gelu)(float* x, const float* bias, int64_t channels, int64_t begin, int64_t end);
  void (*add_bias_residual)(
      float* x, const float* bias, const float* residual, int64_t channels, int64_t begin, int64_t end);
  // work items: rows of the stack
  void (*convolve_depthwise)(const DepthwiseCall&, int64_t begin, int64_t end);
};

struct InstructionSet {
  const char* name;
  bool (*runs_here)();
  const Kernels<float>* float32;
  const Kernels<BFloat16>* bfloat16;
  const PhotoKernels* photo;
  const BlockKernels* block;
};

extern const InstructionSet generic, avx2, avx512;

// Tokens of a chunk. Fixed, so that sums are added in the same order whatever the number of threads.
constexpr int64_t kFcaChunk = 1024;

inline int64_t fca_chunks(const FcaShape& shape) { return (shape.tokens + kFcaChunk - 1) / kFcaChunk; }

// The widest set that was compiled and that this processor runs, unless `select_instruction_set` chose another.
const InstructionSet& instruction_set();

// Returns false when `name` was not compiled or does not run here.
bool select_instruction_set(const char* name);

}  // namespace dualattn::cpu
