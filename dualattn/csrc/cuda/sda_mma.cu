// Separable dilated attention on tensor cores, forward and backward, for float16 and bfloat16.
//
// Mapping: a block is one head of one window, n tokens of d channels, with up to 4 warps. All threads copy Q, K and V
// (backward: and dO) to shared memory once, rows of d padded with zeros to 16, 32 or 64 channels and to a multiple of 16
// tokens. A warp owns 16 rows of the result: 16 queries, and in the second half of the backward pass 16 keys. Logits,
// weights and sums stay in its registers; softmax runs over kKeys keys at a time, and a row of logits lies in the four
// lanes of a quad. The result leaves through shared memory, so that every access to global memory is 16 bytes.
// The backward pass computes S again for dQ with the queries as rows, then S^T for dK and dV with the keys as rows, so
// that each result has one owner: there are no atomics.
//
// Forward: reads 3 n d, writes n d numbers, 4 n^2 d flops.
// Backward: reads 4 n d, writes 3 n d, 14 n^2 d flops (18 where a window has more than kKeys tokens).
#include "launch.h"

#include "rows.h"
#include "window.h"

namespace dualattn::cuda::mma {
namespace {

constexpr int kTile = 16;   // rows of a warp
constexpr int kKeys = 64;   // keys whose logits a warp holds at a time
constexpr int kMaxWarps = 4;

__host__ __device__ constexpr int64_t round_up_to_tile(int64_t n) { return (n + kTile - 1) / kTile * kTile; }

// logits = scale * (the 16 rows of `left`) times the keys from `first` on, minus infinity beyond the last key
template <int kWidth, class T>
__device__ inline void compute_logits(
    Accumulator (&logits)[kKeys / 8], const Fragment (&left)[kWidth / 16], const T* keys, int first, int n,
    float scale, int lane) {
#pragma unroll
  for (Accumulator& tile : logits) tile[0] = tile[1] = tile[2] = tile[3] = 0.f;
  multiply_by_rows<kWidth>(logits, left, keys + first * kStride<kWidth>, n - first, lane);
#pragma unroll
  for (int tile = 0; tile < kKeys / 8; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool real = first + 8 * tile + accumulator_column(lane, i) < n;
      logits[tile][i] = real ? scale * logits[tile][i] : -INFINITY;
    }
  }
}

// The largest logit so far of the two rows that a lane sees. `raise` returns the factors for what was summed before.
struct Highest {
  float rows[2] = {-INFINITY, -INFINITY};

  template <int kTiles>
  __device__ void raise(const Accumulator (&logits)[kTiles], float (&factors)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float next = rows[r];
#pragma unroll
      for (const Accumulator& tile : logits) next = fmaxf(next, fmaxf(tile[2 * r], tile[2 * r + 1]));
      next = max_quad(next);
      factors[r] = exp2_fast(rows[r] - next);
      rows[r] = next;
    }
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(kMaxWarps * kFullWarp)
    sda_forward_kernel(SdaShape shape, const T* __restrict__ qkv, T* __restrict__ out) {
#ifdef DUALATTN_HAS_TENSOR_CORES
  constexpr int kSteps = kWidth / 16, kTiles = kWidth / 8;
  const unsigned heads = shape.heads, head = blockIdx.x % heads;
  const Window window = locate(shape, blockIdx.x / heads);
  const int dim = shape.dim, n = window.size, matrix = round_up_to_tile(n) * kStride<kWidth>;
  const int64_t channels = shape.channels(), step = 3 * channels;
  T *queries = shared_memory<T>(), *keys = queries + matrix, *values = keys + matrix;
  for (int part = 0; part < 3; ++part) {
    const T* source = qkv + part * channels + head * dim;
    start_copy<kWidth>(
        queries + part * matrix, round_up_to_tile(n), dim, qkv, threadIdx.x, blockDim.x,
        [&](int row) { return row < n ? source + window.token(row) * step : nullptr; });
  }
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();

  const int lane = threadIdx.x % kFullWarp, warp = threadIdx.x / kFullWarp, warps = blockDim.x / kFullWarp;
  const float scale = shape.scale * kLog2E;
  for (int tile = warp * kTile; tile < n; tile += warps * kTile) {
    T* own_queries = queries + tile * kStride<kWidth>;
    Fragment query[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) load_left<kWidth>(query[i], own_queries, 16 * i, lane);

    Accumulator result[kTiles] = {};
    Highest highest;
    float sums[2] = {};
    for (int first = 0; first < n; first += kKeys) {
      Accumulator weights[kKeys / 8];
      compute_logits<kWidth>(weights, query, keys, first, n, scale, lane);
      float factors[2];
      highest.raise(weights, factors);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i % 2 == 0) sums[i / 2] *= factors[i / 2];
#pragma unroll
        for (Accumulator& part : result) part[i] *= factors[i / 2];
#pragma unroll
        for (Accumulator& part : weights) {
          part[i] = exp2_fast(part[i] - highest.rows[i / 2]);
          sums[i / 2] += part[i];
        }
      }
#pragma unroll
      for (int key = 0; key < kKeys; key += 16) {
        if (first + key >= n) break;
        Fragment left;
        round_to_left<T>(left, weights[key / 8], weights[key / 8 + 1]);
        multiply_by_columns<kWidth>(result, left, values + (first + key) * kStride<kWidth>, lane);
      }
    }
    __syncwarp();  // every lane has read the queries, whose place the result takes
    store_rows<kWidth>(own_queries, result, 1.f / add_quad(sums[0]), 1.f / add_quad(sums[1]), lane);
    __syncwarp();
    write_rows<kWidth>(own_queries, dim, lane, [&](int row) {
      return tile + row < n ? out + window.token(tile + row) * channels + head * dim : nullptr;
    });
  }
#else
  __trap();  // mma::runs_here keeps calls away
#endif
}

// With P the weights: dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(P dP)), dQ = scale dS K, dK = scale dS^T Q.
template <class T, int kWidth>
__global__ void __launch_bounds__(kMaxWarps * kFullWarp) sda_backward_kernel(
    SdaShape shape, const T* __restrict__ grad, const T* __restrict__ qkv, T* __restrict__ grad_qkv) {
#ifdef DUALATTN_HAS_TENSOR_CORES
  constexpr int kSteps = kWidth / 16, kTiles = kWidth / 8;
  const unsigned heads = shape.heads, head = blockIdx.x % heads;
  const Window window = locate(shape, blockIdx.x / heads);
  const int dim = shape.dim, n = window.size, rows = round_up_to_tile(n), matrix = rows * kStride<kWidth>;
  const int lane = threadIdx.x % kFullWarp, warp = threadIdx.x / kFullWarp, warps = blockDim.x / kFullWarp;
  const int64_t channels = shape.channels(), step = 3 * channels;
  T *queries = shared_memory<T>(), *keys = queries + matrix, *values = keys + matrix, *grads = values + matrix;
  T* results = grads + matrix + warp * kTile * kStride<kWidth>;  // of this warp, on their way out
  float* log_sums = reinterpret_cast<float*>(grads + matrix + warps * kTile * kStride<kWidth>);  // of each query
  float* means = log_sums + rows;                                                                // of each query

  for (int part = 0; part < 4; ++part) {
    const T* source = part < 3 ? qkv + part * channels + head * dim : grad + head * dim;
    const int64_t source_step = part < 3 ? step : channels;
    start_copy<kWidth>(queries + part * matrix, rows, dim, qkv, threadIdx.x, blockDim.x, [&](int row) {
      return row < n ? source + window.token(row) * source_step : nullptr;
    });
  }
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();

  const float scale = shape.scale * kLog2E;
  const auto write_results = [&](const Accumulator(&sums)[kTiles], float factor, int tile, int part) {
    __syncwarp();
    store_rows<kWidth>(results, sums, factor, factor, lane);
    __syncwarp();
    write_rows<kWidth>(results, dim, lane, [&](int row) {
      return tile + row < n ? grad_qkv + window.token(tile + row) * step + part * channels + head * dim : nullptr;
    });
  };

  for (int tile = warp * kTile; tile < n; tile += warps * kTile) {  // of queries
    Fragment query[kSteps], row_grad[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      load_left<kWidth>(query[i], queries + tile * kStride<kWidth>, 16 * i, lane);
      load_left<kWidth>(row_grad[i], grads + tile * kStride<kWidth>, 16 * i, lane);
    }
    Accumulator logits[kKeys / 8], weight_grads[kKeys / 8];
    const auto compute = [&](int first) {
      compute_logits<kWidth>(logits, query, keys, first, n, scale, lane);
#pragma unroll
      for (Accumulator& part : weight_grads) part[0] = part[1] = part[2] = part[3] = 0.f;
      multiply_by_rows<kWidth>(weight_grads, row_grad, values + first * kStride<kWidth>, n - first, lane);
    };

    Highest highest;
    float sums[2] = {}, weighted[2] = {};
    for (int first = 0; first < n; first += kKeys) {
      compute(first);
      float factors[2];
      highest.raise(logits, factors);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        sums[r] *= factors[r];
        weighted[r] *= factors[r];
      }
#pragma unroll
      for (int part = 0; part < kKeys / 8; ++part) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float weight = exp2_fast(logits[part][i] - highest.rows[i / 2]);
          sums[i / 2] += weight;
          weighted[i / 2] = fmaf(weight, weight_grads[part][i], weighted[i / 2]);
        }
      }
    }
    float log_sum[2], mean[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float sum = add_quad(sums[r]);
      log_sum[r] = highest.rows[r] + log2f(sum);
      mean[r] = add_quad(weighted[r]) / sum;
      if (lane % 4 == 0) {
        log_sums[tile + accumulator_row(lane, 2 * r)] = log_sum[r];
        means[tile + accumulator_row(lane, 2 * r)] = mean[r];
      }
    }

    Accumulator query_sums[kTiles] = {};
    for (int first = 0; first < n; first += kKeys) {
      if (n > kKeys) compute(first);  // otherwise the registers still hold them
#pragma unroll
      for (int key = 0; key < kKeys; key += 16) {
        if (first + key >= n) break;
#pragma unroll
        for (int part = key / 8; part < key / 8 + 2; ++part) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            logits[part][i] =
                exp2_fast(logits[part][i] - log_sum[i / 2]) * (weight_grads[part][i] - mean[i / 2]);
          }
        }
        Fragment left;
        round_to_left<T>(left, logits[key / 8], logits[key / 8 + 1]);
        multiply_by_columns<kWidth>(query_sums, left, keys + (first + key) * kStride<kWidth>, lane);
      }
    }
    write_results(query_sums, shape.scale, tile, 0);
  }

  __syncthreads();
  for (int tile = warp * kTile; tile < n; tile += warps * kTile) {  // of keys
    Fragment key[kSteps], value[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      load_left<kWidth>(key[i], keys + tile * kStride<kWidth>, 16 * i, lane);
      load_left<kWidth>(value[i], values + tile * kStride<kWidth>, 16 * i, lane);
    }
    // Queries beyond the last are rows of zeros, as are their gradients: they add nothing to these sums.
    Accumulator key_sums[kTiles] = {}, value_sums[kTiles] = {};
    for (int first = 0; first < n; first += kTile) {
      const T *some_queries = queries + first * kStride<kWidth>, *some_grads = grads + first * kStride<kWidth>;
      Accumulator weights[2] = {}, logit_grads[2] = {};
      multiply_by_rows<kWidth>(weights, key, some_queries, kTile, lane);
      multiply_by_rows<kWidth>(logit_grads, value, some_grads, kTile, lane);
#pragma unroll
      for (int part = 0; part < 2; ++part) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = first + 8 * part + accumulator_column(lane, i);
          weights[part][i] = exp2_fast(scale * weights[part][i] - log_sums[query]);
          logit_grads[part][i] = weights[part][i] * (logit_grads[part][i] - means[query]);
        }
      }
      Fragment left;
      round_to_left<T>(left, weights[0], weights[1]);
      multiply_by_columns<kWidth>(value_sums, left, some_grads, lane);
      round_to_left<T>(left, logit_grads[0], logit_grads[1]);
      multiply_by_columns<kWidth>(key_sums, left, some_queries, lane);
    }
    write_results(key_sums, shape.scale, tile, 1);
    write_results(value_sums, 1.f, tile, 2);
  }
#else
  __trap();  // mma::runs_here keeps calls away
#endif
}

int64_t warps_for(const SdaShape& shape) {
  const int64_t tiles = (shape.tokens() + kTile - 1) / kTile;
  return tiles < kMaxWarps ? tiles : kMaxWarps;
}

// Bytes of `rows` rows of 16-bit numbers in shared memory.
int64_t bytes_of(const SdaShape& shape, int64_t rows) { return rows * (width_of(shape.dim) + kChunk) * 2; }

}  // namespace

int64_t sda_forward_memory(const SdaShape& shape) { return bytes_of(shape, 3 * round_up_to_tile(shape.tokens())); }

int64_t sda_backward_memory(const SdaShape& shape) {
  const int64_t rows = round_up_to_tile(shape.tokens());
  return bytes_of(shape, 4 * rows + kTile * warps_for(shape)) + 2 * rows * sizeof(float);
}

void sda_forward(const Target& target, const SdaShape& shape, const void* qkv, void* out) {
  with_half_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      launch(
          sda_forward_kernel<T, width>, shape.windows() * shape.heads, warps_for(shape) * kFullWarp,
          sda_forward_memory(shape), target.stream, shape, static_cast<const T*>(qkv), static_cast<T*>(out));
    });
  });
}

void sda_backward(const Target& target, const SdaShape& shape, const void* grad, const void* qkv, void* grad_qkv) {
  with_half_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      launch(
          sda_backward_kernel<T, width>, shape.windows() * shape.heads, warps_for(shape) * kFullWarp,
          sda_backward_memory(shape), target.stream, shape, static_cast<const T*>(grad), static_cast<const T*>(qkv),
          static_cast<T*>(grad_qkv));
    });
  });
}

}  // namespace dualattn::cuda::mma
