// The instructions of the GPU that C++ has no name for, each as a function, and the element types they work on.
#pragma once

#include <cstdint>
#include <type_traits>

#include "device.h"

// Defined where the kernels for tensor cores have a body: bfloat16 products and asynchronous copies came with 8.0.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define DUALATTN_HAS_TENSOR_CORES
#endif

namespace dualattn::cuda {

// Two numbers rounded to T, the first in the lower half.
template <class T>
__device__ inline uint32_t pack(float first, float second) {
  uint32_t bits;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);
    memcpy(&bits, &pair, sizeof(bits));
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    memcpy(&bits, &pair, sizeof(bits));
  }
  return bits;
}

#ifndef DUALATTN_EMULATE_CUDA  // otherwise cuda_on_host.h has them

template <class T>
__device__ inline T* shared_memory() {
  extern __shared__ uint4 memory[];
  return reinterpret_cast<T*>(memory);
}

// 2^x, to about 2 units in the last place of a float
__device__ inline float exp2_fast(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

#ifdef DUALATTN_HAS_TENSOR_CORES

// Four 8 x 8 matrices of 16-bit numbers from shared memory, in the layout that the tensor cores take; fragments.h says
// which rows the lanes have to name.
__device__ inline void load_matrices(uint32_t (&result)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}

__device__ inline void load_matrices_transposed(uint32_t (&result)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}

// c (16 x 8) += a (16 x 16) b (16 x 8), summed in float32
template <class T>
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Starts to copy 16 bytes, or zeros when they are not `real`. `global` has to be a valid address either way.
__device__ inline void copy_async(void* shared, const void* global, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(real ? 16 : 0)
               : "memory");
}

// Closes a group of copies.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's copies, except for the last kLeft groups; other threads see them after a barrier.
template <int kLeft>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

#endif  // DUALATTN_HAS_TENSOR_CORES
#endif  // DUALATTN_EMULATE_CUDA

}  // namespace dualattn::cuda
