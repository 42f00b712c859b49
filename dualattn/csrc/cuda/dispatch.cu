// Chooses between the two implementations of each call: tensor cores where they can take it, float32 arithmetic
// otherwise. The rules depend on the type, the sizes, the addresses and the device, never on the values.
#include "fca.h"
#include "launch.h"

namespace dualattn::cuda {
namespace {

// Compiled with the same options as all kernels, so that it tells which of the compiled variants a device takes.
__global__ void probe_kernel() {}

bool on_chunk_boundary(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Rows are copied 16 bytes at a time: every head has to begin on a 16-byte boundary.
bool takes_tensor_cores(Type type, int64_t dim, const void* qkv, const void* grad) {
  return type != Type::float32 && dim % 8 == 0 && on_chunk_boundary(qkv) && on_chunk_boundary(grad) &&
         mma::runs_here();
}

// A window of 16 x 16 tokens with 64 channels needs more shared memory than 8.6 and 8.9 have. The channel attention
// takes at most 64 KB, which every device with these tensor cores has.
bool fits(int64_t bytes) {
  int device = 0, limit = 0;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes <= limit;
}

void check_sides(const SdaShape& shape) {
  STD_TORCH_CHECK(
      shape.height <= INT_MAX && shape.width <= INT_MAX, "a map has at most 2^31 - 1 rows and columns, got ",
      shape.height, " x ", shape.width);
}

}  // namespace

// The code for tensor cores is empty in variants for older devices, and a device may run those of an older one.
bool mma::runs_here() {
  cudaFuncAttributes attributes;
  STD_CUDA_CHECK(cudaFuncGetAttributes(&attributes, probe_kernel));
  return attributes.ptxVersion >= 80;
}

void sda_forward(const Target& target, const SdaShape& shape, const void* qkv, void* out) {
  check_sides(shape);
  const bool tensor_cores =
      takes_tensor_cores(target.type, shape.dim, qkv, qkv) && fits(mma::sda_forward_memory(shape));
  (tensor_cores ? mma::sda_forward : simt::sda_forward)(target, shape, qkv, out);
}

void sda_backward(const Target& target, const SdaShape& shape, const void* grad, const void* qkv, void* grad_qkv) {
  check_sides(shape);
  const bool tensor_cores =
      takes_tensor_cores(target.type, shape.dim, qkv, grad) && fits(mma::sda_backward_memory(shape));
  (tensor_cores ? mma::sda_backward : simt::sda_backward)(target, shape, grad, qkv, grad_qkv);
}

int64_t fca_chunks(const FcaShape& shape) { return split_tokens(shape).chunks; }

void fca_forward(
    const Target& target, const FcaShape& shape, const void* qkv, float* sums, float* attention, void* out) {
  const bool tensor_cores = takes_tensor_cores(target.type, shape.dim, qkv, qkv);
  (tensor_cores ? mma::fca_forward : simt::fca_forward)(target, shape, qkv, sums, attention, out);
}

void fca_backward(
    const Target& target, const FcaShape& shape, const void* grad, const void* qkv, const float* attention,
    float* sums, void* grad_qkv) {
  const bool tensor_cores = takes_tensor_cores(target.type, shape.dim, qkv, grad);
  (tensor_cores ? mma::fca_backward : simt::fca_backward)(target, shape, grad, qkv, attention, sums, grad_qkv);
}

}  // namespace dualattn::cuda
