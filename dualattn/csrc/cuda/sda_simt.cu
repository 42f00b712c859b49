// Separable dilated attention in float32 arithmetic, forward and backward, for every type and width.
//
// Mapping: a block is one head of one window, n tokens of d channels. A row of the result (a query, and in the second
// half of the backward pass a key) belongs to kLanes neighbouring threads, 16 channels each, that keep it and its sums
// in registers. The rows that it meets lie in shared memory as float32, kTile at a time, and all threads of a warp read
// the same row at once. Softmax is computed on the way: when a larger logit appears, earlier sums are scaled down.
//
// Forward: reads 3 n d, writes n d numbers, 4 n^2 d flops.
// Backward: reads 4 n d, writes 3 n d, 18 n^2 d flops: the weights P and their gradient dP are computed once for the
// sums of softmax, once for dQ, and once, key by key, for dK and dV, because n^2 numbers do not fit into registers.
#include "launch.h"

#include "simt.h"
#include "window.h"

namespace dualattn::cuda::simt {
namespace {

constexpr int kTile = 64;  // rows in shared memory; a multiple of kStep
constexpr int kStep = 4;   // of them that are combined before the largest logit is looked at
constexpr int kMaxThreads = 256;

// tile[r] = row first + r of one head as float32; zeros beyond the window and beyond `dim`, up to a multiple of kStep
template <class T, int kWidth>
__device__ void stage(
    const T* source, int64_t step, const Window& window, int first, int dim, float4 (&tile)[kTile][kWidth / 4]) {
  const int rows = min(kTile, (window.size - first + kStep - 1) / kStep * kStep);
  for (int i = threadIdx.x; i < rows * kWidth; i += blockDim.x) {
    const int row = i / kWidth, channel = i % kWidth;
    const bool real = first + row < window.size && channel < dim;
    reinterpret_cast<float*>(tile[row])[channel] =
        real ? to_float(source[window.token(first + row) * step + channel]) : 0.f;
  }
}

// The softmax of one row while it is read: the largest logit (in powers of two), the sum of the weights relative to it,
// and the sum of the weights times their gradients.
struct RunningSoftmax {
  float highest = -INFINITY, sum = 0.f, weighted = 0.f;

  // Makes room for kStep more logits and returns the factor for everything that was summed before.
  __device__ float raise(const float (&logits)[kStep]) {
    float next = highest;
#pragma unroll
    for (float logit : logits) next = fmaxf(next, logit);
    const float factor = exp2f(highest - next);
    highest = next;
    sum *= factor;
    weighted *= factor;
    return factor;
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(kMaxThreads) sda_forward_kernel(SdaShape shape, const T* qkv, T* out) {
  using Row = RowPart<kWidth>;
  __shared__ float4 keys[kTile][kWidth / 4], values[kTile][kWidth / 4];

  const unsigned heads = shape.heads, head = blockIdx.x % heads;
  const Window window = locate(shape, blockIdx.x / heads);
  const int dim = shape.dim, n = window.size;
  const int64_t channels = shape.channels(), step = 3 * channels;
  const T* q = qkv + head * dim;
  const float scale = shape.scale * kLog2E;

  const int part = threadIdx.x % Row::kLanes, rows = blockDim.x / Row::kLanes;
  for (int first_query = 0; first_query < n; first_query += rows) {
    const int index = first_query + threadIdx.x / Row::kLanes;
    const bool real = index < n;
    const Row query = real ? Row::load(q + window.token(index) * step, part, dim) : Row::zeros();
    Row sum = Row::zeros();
    RunningSoftmax softmax;
    for (int first = 0; first < n; first += kTile) {
      __syncthreads();
      stage<T, kWidth>(q + channels, step, window, first, dim, keys);
      stage<T, kWidth>(q + 2 * channels, step, window, first, dim, values);
      __syncthreads();
      const int count = min(kTile, n - first);
      for (int key = 0; key < count; key += kStep) {
        float logits[kStep];
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
          logits[k] = scale * Row::add_lanes(query.dot_part(keys[key + k], part));
          if (key + k >= count) logits[k] = -INFINITY;
        }
        sum.scale(softmax.raise(logits));
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
          const float weight = exp2f(logits[k] - softmax.highest);
          softmax.sum += weight;
          sum.add(weight, values[key + k], part);
        }
      }
    }
    if (real) {
      sum.scale(1.f / softmax.sum);
      sum.store(out + window.token(index) * channels + head * dim, part, dim);
    }
  }
}

// With P the weights: dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(P dP)), dQ = scale dS K, dK = scale dS^T Q.
template <class T, int kWidth>
__global__ void __launch_bounds__(kMaxThreads)
    sda_backward_kernel(SdaShape shape, const T* grad, const T* qkv, T* grad_qkv) {
  using Row = RowPart<kWidth>;
  __shared__ float4 left[kTile][kWidth / 4], right[kTile][kWidth / 4];
  // of each query: its largest logit, 1 / the sum of its weights, and the mean of their gradients
  __shared__ float highest[kMaxTokens], inverse_sums[kMaxTokens], means[kMaxTokens];

  const unsigned heads = shape.heads, head = blockIdx.x % heads;
  const Window window = locate(shape, blockIdx.x / heads);
  const int dim = shape.dim, n = window.size;
  const int64_t channels = shape.channels(), step = 3 * channels;
  const T *q = qkv + head * dim, *k = q + channels, *v = k + channels, *g = grad + head * dim;
  T* grad_q = grad_qkv + head * dim;
  const float scale = shape.scale * kLog2E;

  const int part = threadIdx.x % Row::kLanes, rows = blockDim.x / Row::kLanes;
  for (int first_query = 0; first_query < n; first_query += rows) {
    const int index = first_query + threadIdx.x / Row::kLanes;
    const bool real = index < n;
    const Row query = real ? Row::load(q + window.token(index) * step, part, dim) : Row::zeros();
    const Row row_grad = real ? Row::load(g + window.token(index) * channels, part, dim) : Row::zeros();
    RunningSoftmax softmax;
    for (int first = 0; first < n; first += kTile) {
      __syncthreads();
      stage<T, kWidth>(k, step, window, first, dim, left);
      stage<T, kWidth>(v, step, window, first, dim, right);
      __syncthreads();
      const int count = min(kTile, n - first);
      for (int key = 0; key < count; key += kStep) {
        float logits[kStep], grads[kStep];
#pragma unroll
        for (int i = 0; i < kStep; ++i) {
          logits[i] = scale * Row::add_lanes(query.dot_part(left[key + i], part));
          grads[i] = Row::add_lanes(row_grad.dot_part(right[key + i], part));
          if (key + i >= count) logits[i] = -INFINITY;
        }
        softmax.raise(logits);
#pragma unroll
        for (int i = 0; i < kStep; ++i) {
          const float weight = exp2f(logits[i] - softmax.highest);
          softmax.sum += weight;
          softmax.weighted = fmaf(weight, grads[i], softmax.weighted);
        }
      }
    }
    const float inverse_sum = 1.f / softmax.sum, mean = softmax.weighted * inverse_sum;
    if (real && part == 0) {
      highest[index] = softmax.highest;
      inverse_sums[index] = inverse_sum;
      means[index] = mean;
    }

    Row sum = Row::zeros();
    for (int first = 0; first < n; first += kTile) {
      if (n > kTile) {  // otherwise the only tile is still there
        __syncthreads();
        stage<T, kWidth>(k, step, window, first, dim, left);
        stage<T, kWidth>(v, step, window, first, dim, right);
        __syncthreads();
      }
      const int count = min(kTile, n - first);
      for (int key = 0; key < count; ++key) {
        const float logit = scale * Row::add_lanes(query.dot_part(left[key], part));
        const float weight_grad = Row::add_lanes(row_grad.dot_part(right[key], part));
        sum.add(exp2f(logit - softmax.highest) * (weight_grad - mean), left[key], part);
      }
    }
    if (real) {
      sum.scale(shape.scale * inverse_sum);
      sum.store(grad_q + window.token(index) * step, part, dim);
    }
  }

  for (int first_key = 0; first_key < n; first_key += rows) {
    const int index = first_key + threadIdx.x / Row::kLanes;
    const bool real = index < n;
    const Row key = real ? Row::load(k + window.token(index) * step, part, dim) : Row::zeros();
    const Row value = real ? Row::load(v + window.token(index) * step, part, dim) : Row::zeros();
    Row key_sum = Row::zeros(), value_sum = Row::zeros();
    for (int first = 0; first < n; first += kTile) {
      __syncthreads();
      stage<T, kWidth>(q, step, window, first, dim, left);
      stage<T, kWidth>(g, channels, window, first, dim, right);
      __syncthreads();
      const int count = min(kTile, n - first);
      for (int query = 0; query < count; ++query) {
        const float logit = scale * Row::add_lanes(key.dot_part(left[query], part));
        const float weight_grad = Row::add_lanes(value.dot_part(right[query], part));
        const float weight = exp2f(logit - highest[first + query]) * inverse_sums[first + query];
        value_sum.add(weight, right[query], part);
        key_sum.add(weight * (weight_grad - means[first + query]), left[query], part);
      }
    }
    if (real) {
      T* target = grad_q + window.token(index) * step;
      key_sum.scale(shape.scale);
      key_sum.store(target + channels, part, dim);
      value_sum.store(target + 2 * channels, part, dim);
    }
  }
}

int64_t threads_for(const SdaShape& shape, int64_t width) {
  const int64_t needed = shape.tokens() * (width / 16);
  return needed < kMaxThreads ? (needed + 31) / 32 * 32 : kMaxThreads;
}

}  // namespace

void sda_forward(const Target& target, const SdaShape& shape, const void* qkv, void* out) {
  with_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      launch(
          sda_forward_kernel<T, width>, shape.windows() * shape.heads, threads_for(shape, width), 0, target.stream,
          shape, static_cast<const T*>(qkv), static_cast<T*>(out));
    });
  });
}

void sda_backward(const Target& target, const SdaShape& shape, const void* grad, const void* qkv, void* grad_qkv) {
  with_type(target.type, [&](auto element) {
    with_width(shape.dim, [&](auto width) {
      using T = decltype(element);
      launch(
          sda_backward_kernel<T, width>, shape.windows() * shape.heads, threads_for(shape, width), 0, target.stream,
          shape, static_cast<const T*>(grad), static_cast<const T*>(qkv), static_cast<T*>(grad_qkv));
    });
  });
}

}  // namespace dualattn::cuda::simt
