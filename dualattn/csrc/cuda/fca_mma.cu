// Factorized channel attention on tensor cores, forward and backward, for float16 and bfloat16.
//
// Mapping: a block is one chunk of the tokens of one group of d channels, with 4 warps that take 16 tokens in turn. Each
// warp copies its tiles to its own part of shared memory, kStages - 1 of them ahead of their use, rows padded with zeros
// to 16, 32 or 64 channels. Pass 1 adds up X^T Y over the chunk (K^T Q forward, V^T dO backward): every warp holds all
// d x d sums of its tokens in registers, and at the end the warps add theirs one after the other. Pass 2 adds the
// chunks, applies softmax (or its gradient) to the d x d matrix in float32, again in every block, keeps it rounded in
// shared memory, and multiplies the tiles by it. Results leave through the tile that they came from.
//
// Forward: reads 3, writes 1 number per token and channel, 4 d flops each. Backward: reads 5, writes 3, 8 d flops.
// On top of that the sums of the chunks: 4 d^2 bytes, written once for each chunk and read once by each of its group.
#include "launch.h"

#include "fca.h"
#include "rows.h"

namespace dualattn::cuda::mma {
namespace {

constexpr int kTile = 16;
constexpr int kWarps = 4;
constexpr int kStages = 3;
constexpr int kThreads = kWarps * kFullWarp;

template <int kWidth>
constexpr int kTileSize = kTile * kStride<kWidth>;

// The tiles of one tensor that one warp sees: number i holds the tokens from (i * kWarps + warp) * kTile on.
template <class T, int kWidth>
struct Tiles {
  const T* source;  // the first token of the chunk, the first channel of the group
  int64_t step;     // from a token to the next
  int64_t tokens;
  int dim;
  T* stages;  // room for kStages tiles

  __device__ static int64_t first_token(unsigned i) {
    return (static_cast<int64_t>(i) * kWarps + threadIdx.x / kFullWarp) * kTile;
  }

  __device__ bool has(unsigned i) const { return first_token(i) < tokens; }

  __device__ T* tile(unsigned i) const { return stages + i % kStages * kTileSize<kWidth>; }

  // The caller closes the group of copies, also where there is nothing left to copy: groups are counted.
  __device__ void start(unsigned i) const {
    if (!has(i)) return;
    const int64_t first = first_token(i);
    start_copy<kWidth>(tile(i), kTile, dim, source, threadIdx.x % kFullWarp, kFullWarp, [&](int row) {
      return first + row < tokens ? source + (first + row) * step : nullptr;
    });
  }

  __device__ void start_first() const {
    for (unsigned i = 0; i < kStages - 1; ++i) {
      start(i);
      commit_copies();
    }
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) sum_products_kernel(
    FcaShape shape, FcaSplit split, const T* __restrict__ left, int64_t left_step, const T* __restrict__ right,
    int64_t right_step, float* __restrict__ sums) {
#ifdef DUALATTN_HAS_TENSOR_CORES
  const FcaItem item(shape, split, blockIdx.x);
  const int dim = shape.dim, lane = threadIdx.x % kFullWarp, warp = threadIdx.x / kFullWarp;
  T* stages = shared_memory<T>() + warp * 2 * kStages * kTileSize<kWidth>;
  const Tiles<T, kWidth> lefts = {
      left + item.first_token * left_step + item.first_channel, left_step, item.tokens, dim, stages};
  const Tiles<T, kWidth> rights = {
      right + item.first_token * right_step + item.first_channel, right_step, item.tokens, dim,
      stages + kStages * kTileSize<kWidth>};
  const auto start = [&](unsigned i) {
    lefts.start(i);
    rights.start(i);
    commit_copies();
  };

  Accumulator sum[kWidth / 16][kWidth / 8] = {};
  for (unsigned i = 0; i < kStages - 1; ++i) start(i);
  for (unsigned i = 0; lefts.has(i); ++i) {
    start(i + kStages - 1);
    wait_for_copies<kStages - 1>();
    __syncwarp();
#pragma unroll
    for (int row = 0; row < kWidth / 16; ++row) {
      Fragment a;
      load_left_transposed<kWidth>(a, lefts.tile(i), 16 * row, lane);
      multiply_by_columns<kWidth>(sum[row], a, rights.tile(i), lane);
    }
    __syncwarp();
  }
  wait_for_copies<0>();
  __syncthreads();  // the tiles make room for the total

  auto& total = *shared_memory<ChannelMatrix<kWidth>>();
  for (int turn = 0; turn < kWarps; ++turn) {
    if (warp == turn) {
#pragma unroll
      for (int row = 0; row < kWidth / 16; ++row) {
#pragma unroll
        for (int column = 0; column < kWidth / 8; ++column) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float& entry =
                total.values[16 * row + accumulator_row(lane, i)][8 * column + accumulator_column(lane, i)];
            entry = turn == 0 ? sum[row][column][i] : entry + sum[row][column][i];
          }
        }
      }
    }
    __syncthreads();
  }
  total.store(sums + (item.chunk * shape.batch * shape.groups + item.group) * dim * dim, dim);
#else
  __trap();  // mma::runs_here keeps calls away
#endif
}

// What a block of pass 2 keeps in shared memory.
template <class T, int kWidth, int kMatrices>
struct ApplyMemory {
  ChannelMatrix<kWidth> matrix;
  T rounded[kMatrices][kWidth * kStride<kWidth>];
  T stages[kWarps][kStages * kTileSize<kWidth>];

  __device__ void round(int index) {
    for (int i = 2 * threadIdx.x; i < kWidth * kWidth; i += 2 * kThreads) {
      const int row = i / kWidth, column = i % kWidth;
      *reinterpret_cast<uint32_t*>(&rounded[index][row * kStride<kWidth> + column]) =
          pack<T>(matrix.values[row][column], matrix.values[row][column + 1]);
    }
    __syncthreads();
  }
};

// target = source * matrix, or times its transpose, for the tiles of this warp; the first of them are on their way
template <bool kTransposed, class T, int kWidth>
__device__ void multiply_tiles(const Tiles<T, kWidth>& tiles, const T* matrix, T* target, int64_t target_step) {
  const int lane = threadIdx.x % kFullWarp;
  for (unsigned i = 0; tiles.has(i); ++i) {
    tiles.start(i + kStages - 1);
    commit_copies();
    wait_for_copies<kStages - 1>();
    __syncwarp();
    T* tile = tiles.tile(i);
    Fragment rows[kWidth / 16];
#pragma unroll
    for (int k = 0; k < kWidth / 16; ++k) load_left<kWidth>(rows[k], tile, 16 * k, lane);
    Accumulator result[kWidth / 8] = {};
    if constexpr (kTransposed) {
      multiply_by_rows<kWidth>(result, rows, matrix, kWidth, lane);
    } else {
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        multiply_by_columns<kWidth>(result, rows[k], matrix + 16 * k * kStride<kWidth>, lane);
      }
    }
    __syncwarp();  // every lane has read the tile, whose place the result takes
    store_rows<kWidth>(tile, result, 1.f, 1.f, lane);
    __syncwarp();
    const int64_t first = tiles.first_token(i);
    write_rows<kWidth>(tile, tiles.dim, lane, [&](int row) {
      return first + row < tiles.tokens ? target + (first + row) * target_step : nullptr;
    });
    __syncwarp();
  }
  wait_for_copies<0>();
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) apply_kernel(
    FcaShape shape, FcaSplit split, const T* __restrict__ qkv, const float* __restrict__ sums,
    float* __restrict__ attention, T* __restrict__ out) {
#ifdef DUALATTN_HAS_TENSOR_CORES
  auto& memory = *shared_memory<ApplyMemory<T, kWidth, 1>>();
  const FcaItem item(shape, split, blockIdx.x);
  const int dim = shape.dim;
  const int64_t channels = shape.channels(), step = 3 * channels;
  const Tiles<T, kWidth> values = {
      qkv + item.first_token * step + 2 * channels + item.first_channel, step, item.tokens, dim,
      memory.stages[threadIdx.x / kFullWarp]};
  values.start_first();

  memory.matrix.load_sum(shape, split, sums, item.group, shape.scale * kLog2E);
  memory.matrix.apply_softmax(dim);
  if (item.chunk == 0) memory.matrix.store(attention + item.group * dim * dim, dim);
  memory.round(0);
  multiply_tiles<false>(
      values, memory.rounded[0], out + item.first_token * channels + item.first_channel, channels);
#else
  __trap();  // mma::runs_here keeps calls away
#endif
}

// With A the attention and S its logits, keys first: dQ = K dS, dK = Q dS^T, dV = dO A^T.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) apply_backward_kernel(
    FcaShape shape, FcaSplit split, const T* __restrict__ grad, const T* __restrict__ qkv,
    const float* __restrict__ attention, const float* __restrict__ sums, T* __restrict__ grad_qkv) {
#ifdef DUALATTN_HAS_TENSOR_CORES
  auto& memory = *shared_memory<ApplyMemory<T, kWidth, 2>>();
  const FcaItem item(shape, split, blockIdx.x);
  const int dim = shape.dim;
  const int64_t channels = shape.channels(), step = 3 * channels;
  const int64_t offset = item.first_token * step + item.first_channel;
  const float* weights = attention + item.group * dim * dim;
  T *stages = memory.stages[threadIdx.x / kFullWarp], *target = grad_qkv + offset;
  const Tiles<T, kWidth> keys = {qkv + offset + channels, step, item.tokens, dim, stages};
  const Tiles<T, kWidth> queries = {qkv + offset, step, item.tokens, dim, stages};
  const Tiles<T, kWidth> grads = {
      grad + item.first_token * channels + item.first_channel, channels, item.tokens, dim, stages};
  keys.start_first();

  memory.matrix.load(weights, dim);
  memory.round(1);
  memory.matrix.load_sum(shape, split, sums, item.group, 1.f);
  memory.matrix.apply_softmax_gradient(weights, dim, shape.scale);
  memory.round(0);
  multiply_tiles<false>(keys, memory.rounded[0], target, step);
  queries.start_first();
  multiply_tiles<true>(queries, memory.rounded[0], target + channels, step);
  grads.start_first();
  multiply_tiles<true>(grads, memory.rounded[1], target + 2 * channels, step);
#else
  __trap();  // mma::runs_here keeps calls away
#endif
}

template <class T, int kWidth>
int64_t sum_memory() {
  return kWarps * 2 * kStages * kTileSize<kWidth> * sizeof(T);
}

}  // namespace

void fca_forward(
    const Target& target, const FcaShape& shape, const void* qkv, float* sums, float* attention, void* out) {
  const FcaSplit split = split_tokens(shape);
  const int64_t blocks = split.chunks * shape.batch * shape.groups, channels = shape.channels();
  with_half_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      constexpr int kWidth = width;
      static_assert(sizeof(ChannelMatrix<kWidth>) <= kWarps * 2 * kStages * kTileSize<kWidth> * sizeof(T));
      const T* q = static_cast<const T*>(qkv);
      launch(
          sum_products_kernel<T, kWidth>, blocks, kThreads, sum_memory<T, kWidth>(), target.stream, shape, split,
          q + channels, 3 * channels, q, 3 * channels, sums);
      launch(
          apply_kernel<T, kWidth>, blocks, kThreads, sizeof(ApplyMemory<T, kWidth, 1>), target.stream, shape, split, q,
          sums, attention, static_cast<T*>(out));
    });
  });
}

void fca_backward(
    const Target& target, const FcaShape& shape, const void* grad, const void* qkv, const float* attention,
    float* sums, void* grad_qkv) {
  const FcaSplit split = split_tokens(shape);
  const int64_t blocks = split.chunks * shape.batch * shape.groups, channels = shape.channels();
  with_half_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      constexpr int kWidth = width;
      const T *q = static_cast<const T*>(qkv), *g = static_cast<const T*>(grad);
      launch(
          sum_products_kernel<T, kWidth>, blocks, kThreads, sum_memory<T, kWidth>(), target.stream, shape, split,
          q + 2 * channels, 3 * channels, g, channels, sums);
      launch(
          apply_backward_kernel<T, kWidth>, blocks, kThreads, sizeof(ApplyMemory<T, kWidth, 2>), target.stream, shape,
          split, g, q, attention, sums, static_cast<T*>(grad_qkv));
    });
  });
}

}  // namespace dualattn::cuda::mma
