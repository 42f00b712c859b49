// What every kernel file needs on the host side: types and widths as template arguments, and a checked launch.
#pragma once

#ifndef DUALATTN_EMULATE_CUDA
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/Exception.h>
#endif

#include <climits>
#include <cstdint>
#include <type_traits>

#include "device.h"
#include "kernels.h"

namespace dualattn::cuda {

constexpr float kLog2E = 1.44269504088896f;  // the kernels take powers of two, which the hardware computes

// Calls function(a value of the element type).
template <class Function>
void with_type(Type type, const Function& function) {
  switch (type) {
    case Type::float32:
      return function(float());
    case Type::float16:
      return function(__half());
    case Type::bfloat16:
      return function(__nv_bfloat16());
  }
}

// The same for the types of the tensor cores.
template <class Function>
void with_half_type(Type type, const Function& function) {
  type == Type::float16 ? function(__half()) : function(__nv_bfloat16());
}

// Calls function(std::integral_constant of the compiled width that holds `dim` channels).
template <class Function>
void with_width(int64_t dim, const Function& function) {
  if (dim <= 16) return function(std::integral_constant<int, 16>());
  if (dim <= 32) return function(std::integral_constant<int, 32>());
  static_assert(kMaxDim == 64, "the widest compiled kernel holds every head that the binding lets pass");
  return function(std::integral_constant<int, kMaxDim>());
}

// The compiled width that holds `dim` channels.
inline int64_t width_of(int64_t dim) { return dim <= 16 ? 16 : dim <= 32 ? 32 : kMaxDim; }

// Runs kernel(arguments) with blocks * threads threads and `shared` bytes of shared memory a block.
template <class... Parameters, class... Arguments>
void launch(
    void (*kernel)(Parameters...), int64_t blocks, int64_t threads, int64_t shared, void* stream,
    const Arguments&... arguments) {
  if (blocks == 0) return;
#ifdef DUALATTN_EMULATE_CUDA
  emulate(blocks, threads, shared, [&] { kernel(arguments...); });
#else
  STD_TORCH_CHECK(
      blocks <= INT_MAX, "a call has at most 2^31 - 1 windows times heads, or chunks times groups, got ", blocks,
      "; split the batch");
  constexpr int64_t kWithoutAsking = 48 * 1024;
  if (shared > kWithoutAsking) {
    STD_CUDA_CHECK(cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), shared, static_cast<cudaStream_t>(stream)>>>(
      arguments...);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
#endif
}

}  // namespace dualattn::cuda
