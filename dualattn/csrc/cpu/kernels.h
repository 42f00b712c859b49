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
  // sums[item] = K^T Q of the item's tokens, `fca_sum_size` floats
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

struct InstructionSet {
  const char* name;
  bool (*runs_here)();
  const Kernels<float>* float32;
  const Kernels<BFloat16>* bfloat16;
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
