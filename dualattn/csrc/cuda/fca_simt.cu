// Factorized channel attention in float32 arithmetic, forward and backward, for every type and width.
//
// Mapping: a block is one chunk of the tokens of one group of d channels. Pass 1 adds up X^T Y over the chunk (K^T Q
// forward, V^T dO backward): a team of threads covers the d x d sums, 4 x 4 to a thread, and the teams take turns with
// the tokens. Pass 2 adds the chunks, applies softmax (or its gradient) to the d x d matrix, again in every block, and
// multiplies the rows of its chunk by it: 4 tokens x 4 channels to a thread.
//
// Forward: reads 3, writes 1 number per token and channel, 4 d flops each. Backward: reads 5, writes 3, 8 d flops.
#include "launch.h"

#include "fca.h"
#include "simt.h"

namespace dualattn::cuda::simt {
namespace {

constexpr int kThreads = 256;

// rows[t] = source row first + t as float32, t < kRows; zeros beyond `tokens` and `dim`
template <int kRows, int kWidth, class T>
__device__ void stage(
    const T* source, int64_t step, int64_t first, int64_t tokens, int dim, float4 (&rows)[kRows][kWidth / 4]) {
  for (int i = threadIdx.x; i < kRows * kWidth; i += kThreads) {
    const int row = i / kWidth, channel = i % kWidth;
    const bool real = first + row < tokens && channel < dim;
    reinterpret_cast<float*>(rows[row])[channel] = real ? to_float(source[(first + row) * step + channel]) : 0.f;
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) sum_products_kernel(
    FcaShape shape, FcaSplit split, const T* left, int64_t left_step, const T* right, int64_t right_step,
    float* sums) {
  constexpr int kRows = 32, kQuads = kWidth / 4, kTeam = kQuads * kQuads, kTeams = kThreads / kTeam;
  __shared__ float4 left_rows[kRows][kQuads], right_rows[kRows][kQuads], total[kWidth][kQuads];

  const FcaItem item(shape, split, blockIdx.x);
  const int dim = shape.dim;
  left += item.first_token * left_step + item.first_channel;
  right += item.first_token * right_step + item.first_channel;
  const int team = threadIdx.x / kTeam, row = threadIdx.x % kTeam / kQuads, column = threadIdx.x % kQuads;
  float4 sum[4] = {};
  for (int64_t first = 0; first < item.tokens; first += kRows) {
    __syncthreads();
    stage<kRows, kWidth>(left, left_step, first, item.tokens, dim, left_rows);
    stage<kRows, kWidth>(right, right_step, first, item.tokens, dim, right_rows);
    __syncthreads();
    for (int t = team; t < kRows; t += kTeams) {
      const float4 l = left_rows[t][row], r = right_rows[t][column];
      add_scaled(sum[0], l.x, r);
      add_scaled(sum[1], l.y, r);
      add_scaled(sum[2], l.z, r);
      add_scaled(sum[3], l.w, r);
    }
  }
  for (int turn = 0; turn < kTeams; ++turn) {
    if (team == turn) {
      for (int i = 0; i < 4; ++i) {
        float4& entry = total[4 * row + i][column];
        if (turn > 0) add_scaled(sum[i], 1.f, entry);
        entry = sum[i];
      }
    }
    __syncthreads();
  }
  float* target = sums + (item.chunk * shape.batch * shape.groups + item.group) * dim * dim;
  for (int i = threadIdx.x; i < dim * dim; i += kThreads) {
    target[i] = reinterpret_cast<const float*>(total[i / dim])[i % dim];
  }
}

// target = source * matrix, for the tokens of a chunk
template <class T, int kWidth>
__device__ void multiply_rows(
    const T* source, int64_t source_step, const ChannelMatrix<kWidth>& matrix, int64_t tokens, int dim, T* target,
    int64_t target_step) {
  constexpr int kQuads = kWidth / 4, kRowThreads = kThreads / kQuads, kRows = 4 * kRowThreads;
  __shared__ float4 rows[kRows][kQuads];
  const int column = threadIdx.x % kQuads, first_row = threadIdx.x / kQuads;
  for (int64_t first = 0; first < tokens; first += kRows) {
    __syncthreads();
    stage<kRows, kWidth>(source, source_step, first, tokens, dim, rows);
    __syncthreads();
    float4 sum[4] = {};
    for (int k = 0; k < kQuads; ++k) {
      float4 weights[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weights[i] = reinterpret_cast<const float4*>(matrix.values[4 * k + i])[column];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 x = rows[first_row + i * kRowThreads][k];
        add_scaled(sum[i], x.x, weights[0]);
        add_scaled(sum[i], x.y, weights[1]);
        add_scaled(sum[i], x.z, weights[2]);
        add_scaled(sum[i], x.w, weights[3]);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t token = first + first_row + i * kRowThreads;
      if (token >= tokens) continue;
      T* row = target + token * target_step + 4 * column;
      if (4 * column + 0 < dim) assign(row[0], sum[i].x);
      if (4 * column + 1 < dim) assign(row[1], sum[i].y);
      if (4 * column + 2 < dim) assign(row[2], sum[i].z);
      if (4 * column + 3 < dim) assign(row[3], sum[i].w);
    }
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) apply_kernel(
    FcaShape shape, FcaSplit split, const T* qkv, const float* sums, float* attention, T* out) {
  __shared__ ChannelMatrix<kWidth> matrix;
  const FcaItem item(shape, split, blockIdx.x);
  const int dim = shape.dim;
  const int64_t channels = shape.channels(), step = 3 * channels;
  matrix.load_sum(shape, split, sums, item.group, shape.scale * kLog2E);
  matrix.apply_softmax(dim);
  if (item.chunk == 0) matrix.store(attention + item.group * dim * dim, dim);

  const T* v = qkv + item.first_token * step + 2 * channels + item.first_channel;
  multiply_rows(v, step, matrix, item.tokens, dim, out + item.first_token * channels + item.first_channel, channels);
}

// With A the attention and S its logits, keys first: dQ = K dS, dK = Q dS^T, dV = dO A^T.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) apply_backward_kernel(
    FcaShape shape, FcaSplit split, const T* grad, const T* qkv, const float* attention, const float* sums,
    T* grad_qkv) {
  __shared__ ChannelMatrix<kWidth> matrix;
  const FcaItem item(shape, split, blockIdx.x);
  const int dim = shape.dim;
  const int64_t channels = shape.channels(), step = 3 * channels;
  const int64_t offset = item.first_token * step + item.first_channel;
  const float* weights = attention + item.group * dim * dim;

  matrix.load_sum(shape, split, sums, item.group, 1.f);
  matrix.apply_softmax_gradient(weights, dim, shape.scale);
  multiply_rows(qkv + offset + channels, step, matrix, item.tokens, dim, grad_qkv + offset, step);
  matrix.transpose();
  multiply_rows(qkv + offset, step, matrix, item.tokens, dim, grad_qkv + offset + channels, step);
  __syncthreads();
  matrix.load(weights, dim);
  matrix.transpose();
  const T* g = grad + item.first_token * channels + item.first_channel;
  multiply_rows(g, channels, matrix, item.tokens, dim, grad_qkv + offset + 2 * channels, step);
}

}  // namespace

void fca_forward(
    const Target& target, const FcaShape& shape, const void* qkv, float* sums, float* attention, void* out) {
  const FcaSplit split = split_tokens(shape);
  const int64_t blocks = split.chunks * shape.batch * shape.groups, channels = shape.channels();
  with_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      const T* q = static_cast<const T*>(qkv);
      launch(
          sum_products_kernel<T, width>, blocks, kThreads, 0, target.stream, shape, split, q + channels, 3 * channels,
          q, 3 * channels, sums);
      launch(
          apply_kernel<T, width>, blocks, kThreads, 0, target.stream, shape, split, q, sums, attention,
          static_cast<T*>(out));
    });
  });
}

void fca_backward(
    const Target& target, const FcaShape& shape, const void* grad, const void* qkv, const float* attention,
    float* sums, void* grad_qkv) {
  const FcaSplit split = split_tokens(shape);
  const int64_t blocks = split.chunks * shape.batch * shape.groups, channels = shape.channels();
  with_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      const T *q = static_cast<const T*>(qkv), *g = static_cast<const T*>(grad);
      launch(
          sum_products_kernel<T, width>, blocks, kThreads, 0, target.stream, shape, split, q + 2 * channels,
          3 * channels, g, channels, sums);
      launch(
          apply_backward_kernel<T, width>, blocks, kThreads, 0, target.stream, shape, split, g, q, attention, sums,
          static_cast<T*>(grad_qkv));
    });
  });
}

}  // namespace dualattn::cuda::simt
