// What the kernels without tensor cores share: any element type as float32, and rows that several lanes divide.
#pragma once

#include <cstdint>

#include "device.h"

namespace dualattn::cuda::simt {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ inline void assign(float& target, float x) { target = x; }
__device__ inline void assign(__half& target, float x) { target = __float2half_rn(x); }
__device__ inline void assign(__nv_bfloat16& target, float x) { target = __float2bfloat16_rn(x); }

__device__ inline float dot(float4 a, float4 b, float sum) {
  return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

__device__ inline void add_scaled(float4& sum, float factor, float4 a) {
  sum.x = fmaf(factor, a.x, sum.x);
  sum.y = fmaf(factor, a.y, sum.y);
  sum.z = fmaf(factor, a.z, sum.z);
  sum.w = fmaf(factor, a.w, sum.w);
}

// A row of kWidth channels divided among kLanes neighbouring lanes of a warp, 16 channels each. Lane `part` holds the
// quads part, part + kLanes, ...: when lanes read such rows of shared memory together, no bank is asked twice.
template <int kWidth>
struct RowPart {
  static constexpr int kLanes = kWidth / 16;
  float4 quads[4];

  __device__ static RowPart zeros() {
    RowPart row;
    for (float4& quad : row.quads) quad = make_float4(0.f, 0.f, 0.f, 0.f);
    return row;
  }

  // Reads the first `dim` channels; the others are zero.
  template <class T>
  __device__ static RowPart load(const T* source, int part, int dim) {
    RowPart row;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int channel = 4 * (part + kLanes * i);
      row.quads[i].x = channel + 0 < dim ? to_float(source[channel + 0]) : 0.f;
      row.quads[i].y = channel + 1 < dim ? to_float(source[channel + 1]) : 0.f;
      row.quads[i].z = channel + 2 < dim ? to_float(source[channel + 2]) : 0.f;
      row.quads[i].w = channel + 3 < dim ? to_float(source[channel + 3]) : 0.f;
    }
    return row;
  }

  template <class T>
  __device__ void store(T* target, int part, int dim) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int channel = 4 * (part + kLanes * i);
      if (channel + 0 < dim) assign(target[channel + 0], quads[i].x);
      if (channel + 1 < dim) assign(target[channel + 1], quads[i].y);
      if (channel + 2 < dim) assign(target[channel + 2], quads[i].z);
      if (channel + 3 < dim) assign(target[channel + 3], quads[i].w);
    }
  }

  // This lane's share of the product with a row in shared memory; `add_lanes` completes it.
  __device__ float dot_part(const float4* row, int part) const {
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < 4; ++i) sum = dot(quads[i], row[part + kLanes * i], sum);
    return sum;
  }

  __device__ void add(float factor, const float4* row, int part) {
#pragma unroll
    for (int i = 0; i < 4; ++i) add_scaled(quads[i], factor, row[part + kLanes * i]);
  }

  __device__ void scale(float factor) {
#pragma unroll
    for (float4& quad : quads) {
      quad.x *= factor;
      quad.y *= factor;
      quad.z *= factor;
      quad.w *= factor;
    }
  }

  __device__ static float add_lanes(float x) {
#pragma unroll
    for (int mask = 1; mask < kLanes; mask <<= 1) x += __shfl_xor_sync(0xffffffffu, x, mask);
    return x;
  }
};

}  // namespace dualattn::cuda::simt
