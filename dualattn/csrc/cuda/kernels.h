// The CUDA kernels as the binding calls them: pointers to device memory, sizes, and the stream to run on.
//
// Two implementations of each operator stand side by side, and dispatch.cu chooses between them:
//   mma   tensor cores: float16 and bfloat16 on compute capability 8.0 and newer, heads and groups of 8, 16, ... 64
//         channels on 16-byte boundaries;
//   simt  plain float32 arithmetic: every type, every width up to 64, compute capability 7.5 and newer.
// All sums are added in an order that depends on the sizes alone, without atomics: the same input gives the same bits.
#pragma once

#include <cstdint>

#include "../shapes.h"

namespace dualattn::cuda {

enum class Type { float32, float16, bfloat16 };

// Where a call runs.
struct Target {
  Type type;
  void* stream;  // a cudaStream_t of the current device
};

void sda_forward(const Target&, const SdaShape&, const void* qkv, void* out);
void sda_backward(const Target&, const SdaShape&, const void* grad, const void* qkv, void* grad_qkv);

// Both passes of the channel attention split the tokens of a map into this many chunks; `sums` holds as many matrices
// for each group: (chunks, batch, groups, dim, dim).
int64_t fca_chunks(const FcaShape&);
void fca_forward(const Target&, const FcaShape&, const void* qkv, float* sums, float* attention, void* out);
void fca_backward(
    const Target&, const FcaShape&, const void* grad, const void* qkv, const float* attention, float* sums,
    void* grad_qkv);

namespace simt {
void sda_forward(const Target&, const SdaShape&, const void* qkv, void* out);
void sda_backward(const Target&, const SdaShape&, const void* grad, const void* qkv, void* grad_qkv);
void fca_forward(const Target&, const FcaShape&, const void* qkv, float* sums, float* attention, void* out);
void fca_backward(
    const Target&, const FcaShape&, const void* grad, const void* qkv, const float* attention, float* sums,
    void* grad_qkv);
}  // namespace simt

namespace mma {
// Tells whether this device runs the code that was compiled for tensor cores.
bool runs_here();
// Bytes of shared memory that a block needs.
int64_t sda_forward_memory(const SdaShape&);
int64_t sda_backward_memory(const SdaShape&);

void sda_forward(const Target&, const SdaShape&, const void* qkv, void* out);
void sda_backward(const Target&, const SdaShape&, const void* grad, const void* qkv, void* grad_qkv);
void fca_forward(const Target&, const FcaShape&, const void* qkv, float* sums, float* attention, void* out);
void fca_backward(
    const Target&, const FcaShape&, const void* grad, const void* qkv, const float* attention, float* sums,
    void* grad_qkv);
}  // namespace mma

}  // namespace dualattn::cuda
