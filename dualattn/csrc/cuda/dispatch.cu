// Chooses the implementation of each call.
#include "launch.h"

#include "fca.h"

namespace dualattn::cuda {

int64_t fca_chunks(const FcaShape& shape) { return split_tokens(shape).chunks; }

void sda_forward(const Target& target, const SdaShape& shape, const void* qkv, void* out) {
  simt::sda_forward(target, shape, qkv, out);
}

void sda_backward(const Target& target, const SdaShape& shape, const void* grad, const void* qkv, void* grad_qkv) {
  simt::sda_backward(target, shape, grad, qkv, grad_qkv);
}

void fca_forward(
    const Target& target, const FcaShape& shape, const void* qkv, float* sums, float* attention, void* out) {
  simt::fca_forward(target, shape, qkv, sums, attention, out);
}

void fca_backward(
    const Target& target, const FcaShape& shape, const void* grad, const void* qkv, const float* attention,
    float* sums, void* grad_qkv) {
  simt::fca_backward(target, shape, grad, qkv, attention, sums, grad_qkv);
}

}  // namespace dualattn::cuda
