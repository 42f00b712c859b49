// Rows of channels between global memory and the matrices in shared memory, 16 bytes to a thread and step.
#pragma once

#include "fragments.h"

namespace dualattn::cuda {

constexpr int kChunk = 8;  // 16-bit numbers in 16 bytes

// Starts to copy: row r of the matrix = channels [0, dim) of source(r), zeros where that is null and from dim on.
// `valid` is any readable address on a 16-byte boundary.
template <int kWidth, class T, class Source>
__device__ inline void start_copy(
    T* matrix, int rows, int dim, const T* valid, int thread, int threads, const Source& source) {
  constexpr int kChunks = kWidth / kChunk;
  for (int i = thread; i < rows * kChunks; i += threads) {
    const int row = i / kChunks, channel = i % kChunks * kChunk;
    const T* from = channel < dim ? source(row) : nullptr;
    const bool real = from != nullptr;
    copy_async(matrix + row * kStride<kWidth> + channel, real ? from + channel : valid, real);
  }
}

// Channels [0, dim) of target(r) = row r of the matrix, r < 16; rows whose target is null are left out. For one warp.
template <int kWidth, class T, class Target>
__device__ inline void write_rows(const T* matrix, int dim, int lane, const Target& target) {
  constexpr int kChunks = kWidth / kChunk;
#pragma unroll
  for (int i = lane; i < 16 * kChunks; i += kFullWarp) {
    const int row = i / kChunks, channel = i % kChunks * kChunk;
    T* to = channel < dim ? target(row) : nullptr;
    if (to == nullptr) continue;
    *reinterpret_cast<uint4*>(to + channel) =
        *reinterpret_cast<const uint4*>(matrix + row * kStride<kWidth> + channel);
  }
  __syncwarp();  // rows that are left out part the lanes; what follows wants all of them
}

}  // namespace dualattn::cuda
