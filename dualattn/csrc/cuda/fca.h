// What both implementations of the channel attention share: how the tokens are split, and the small attention matrix.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../shapes.h"
#include "device.h"

namespace dualattn::cuda {

// The tokens of a map, in chunks of which each is the work of one block.
struct FcaSplit {
  int64_t chunk;   // tokens
  int64_t chunks;
};

// Enough chunks to fill a large GPU even at batch 1, but few enough that adding them up again costs little. Depends on
// the sizes alone, so that every device adds in the same order.
inline FcaSplit split_tokens(const FcaShape& shape) {
  constexpr int64_t kBlocks = 1024, kMaxChunks = 32, kMinChunk = 128;
  const int64_t groups = std::max<int64_t>(shape.batch * shape.groups, 1);
  const int64_t wanted = std::min((kBlocks + groups - 1) / groups, kMaxChunks);
  const int64_t even = (shape.tokens + wanted - 1) / wanted;
  FcaSplit split;
  split.chunk = (std::max(even, kMinChunk) + 63) / 64 * 64;
  split.chunks = (shape.tokens + split.chunk - 1) / split.chunk;
  return split;
}

// The work of one block: a chunk of one group. Groups change fastest, so that neighbours in memory are read together.
struct FcaItem {
  int64_t group;  // counted over the batch
  int64_t chunk;
  int64_t first_token;  // counted over the batch
  int64_t tokens;
  int64_t first_channel;

  __device__ FcaItem(const FcaShape& shape, const FcaSplit& split, unsigned index) {
    const unsigned all_groups = shape.batch * shape.groups, groups = shape.groups;
    const unsigned group_index = index % all_groups;
    group = group_index;
    chunk = index / all_groups;
    first_token = group_index / groups * shape.tokens + chunk * split.chunk;
    tokens = min(split.chunk, shape.tokens - chunk * split.chunk);
    first_channel = group_index % groups * shape.dim;
  }
};

// A matrix of a group in shared memory, the key channel as the row; rows and columns beyond the group's are zero.
// Four neighbouring threads share a column of it; the stride spreads their rows over all banks.
template <int kWidth>
struct ChannelMatrix {
  static constexpr int kStride = kWidth + 8;
  alignas(16) float values[kWidth][kStride];  // read four at a time

  // *this = a matrix (dim, dim) in global memory
  __device__ void load(const float* source, int dim) {
    for (int i = threadIdx.x; i < kWidth * kWidth; i += blockDim.x) {
      const int row = i / kWidth, column = i % kWidth;
      values[row][column] = row < dim && column < dim ? source[row * dim + column] : 0.f;
    }
    __syncthreads();
  }

  // *this = factor * (the sums of all chunks, added in their order)
  __device__ void load_sum(
      const FcaShape& shape, const FcaSplit& split, const float* sums, int64_t group, float factor) {
    const int dim = shape.dim;
    const int64_t size = static_cast<int64_t>(dim) * dim, chunk_step = shape.batch * shape.groups * size;
    for (int i = threadIdx.x; i < kWidth * kWidth; i += blockDim.x) {
      const int row = i / kWidth, column = i % kWidth;
      float sum = 0.f;
      if (row < dim && column < dim) {
        const float* part = sums + group * size + row * dim + column;
        for (int64_t chunk = 0; chunk < split.chunks; ++chunk) sum += part[chunk * chunk_step];
      }
      values[row][column] = factor * sum;
    }
    __syncthreads();
  }

  __device__ void store(float* target, int dim) const {
    for (int i = threadIdx.x; i < dim * dim; i += blockDim.x) target[i] = values[i / dim][i % dim];
  }

  // Softmax over the keys; the logits are in powers of two.
  __device__ void apply_softmax(int dim) {
    for (int column = threadIdx.x / 4; column < kWidth; column += blockDim.x / 4) {
      const int part = threadIdx.x % 4, keys = column < dim ? dim : 0;
      float highest = -INFINITY, sum = 0.f;
      for (int key = part; key < keys; key += 4) highest = fmaxf(highest, values[key][column]);
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
      for (int key = part; key < keys; key += 4) {
        const float weight = exp2f(values[key][column] - highest);
        values[key][column] = weight;
        sum += weight;
      }
      const float inverse = 1.f / add_quad(sum);
      for (int key = part; key < keys; key += 4) values[key][column] *= inverse;
    }
    __syncthreads();
  }

  // From the gradient of the weights, which are in global memory, to that of the logits: A (dA - sum over keys of A dA).
  __device__ void apply_softmax_gradient(const float* attention, int dim, float scale) {
    for (int column = threadIdx.x / 4; column < kWidth; column += blockDim.x / 4) {
      const int part = threadIdx.x % 4, keys = column < dim ? dim : 0;
      float mean = 0.f;
      for (int key = part; key < keys; key += 4) mean += attention[key * dim + column] * values[key][column];
      mean = add_quad(mean);
      for (int key = part; key < keys; key += 4) {
        values[key][column] = scale * attention[key * dim + column] * (values[key][column] - mean);
      }
    }
    __syncthreads();
  }

  __device__ void transpose() {
    __syncthreads();
    for (int i = threadIdx.x; i < kWidth * kWidth; i += blockDim.x) {
      const int row = i / kWidth, column = i % kWidth;
      if (row < column) {
        const float upper = values[row][column];
        values[row][column] = values[column][row];
        values[column][row] = upper;
      }
    }
    __syncthreads();
  }

 private:
  __device__ static float add_quad(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
  }
};

}  // namespace dualattn::cuda
