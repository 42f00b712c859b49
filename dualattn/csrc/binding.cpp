// Registers the kernels with torch. The schemas stand in dualattn/ops/library.py; this file gives them their CPU and CUDA
// implementations through torch's stable ABI, so that one build serves every torch from 2.10 on and compiles in seconds.
//
// What a Python caller sees of a wrong argument is checked in dualattn/ops; the checks here keep a direct call of
// torch.ops.dualattn.* inside its memory.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/kernels.h"
#include "shapes.h"
#ifdef DUALATTN_WITH_CUDA
#include <torch/csrc/stable/accelerator.h>

#include "cuda/kernels.h"
#endif

namespace dualattn {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

void check_map(const Tensor& qkv, int64_t parts) {
  STD_TORCH_CHECK(qkv.dim() == 4, "qkv has to be (B, H, W, 3C), got ", qkv.dim(), " dimensions");
  STD_TORCH_CHECK(qkv.size(1) > 0 && qkv.size(2) > 0, "qkv holds no token: H and W have to be positive");
  STD_TORCH_CHECK(
      parts > 0 && parts <= qkv.size(3) && qkv.size(3) % (3 * parts) == 0, "qkv has to hold 3 * ", parts,
      " parts of equal width, got ", qkv.size(3), " channels");
  STD_TORCH_CHECK(
      qkv.size(3) / (3 * parts) <= kMaxDim, "a head or group has at most ", kMaxDim, " channels, got ",
      qkv.size(3) / (3 * parts));
}

SdaShape sda_shape(const Tensor& qkv, int64_t grid_h, int64_t grid_w, int64_t heads, double scale) {
  check_map(qkv, heads);
  STD_TORCH_CHECK(
      grid_h > 0 && grid_w > 0 && grid_h <= kMaxTokens && grid_w <= kMaxTokens && grid_h * grid_w <= kMaxTokens,
      "a window has 1 to ", kMaxTokens, " tokens, got ", grid_h, " x ", grid_w);
  SdaShape shape;
  shape.batch = qkv.size(0);
  shape.height = qkv.size(1);
  shape.width = qkv.size(2);
  shape.heads = heads;
  shape.dim = qkv.size(3) / (3 * heads);
  shape.grid_h = grid_h;
  shape.grid_w = grid_w;
  shape.stride_h = divide_up(shape.height, grid_h);
  shape.stride_w = divide_up(shape.width, grid_w);
  shape.scale = static_cast<float>(scale);
  return shape;
}

FcaShape fca_shape(const Tensor& qkv, int64_t groups, double scale) {
  check_map(qkv, groups);
  FcaShape shape;
  shape.batch = qkv.size(0);
  shape.tokens = qkv.size(1) * qkv.size(2);
  shape.groups = groups;
  shape.dim = qkv.size(3) / (3 * groups);
  shape.scale = static_cast<float>(scale);
  return shape;
}

void check_grad(const Tensor& grad, const Tensor& qkv) {
  STD_TORCH_CHECK(
      grad.dim() == 4 && grad.size(0) == qkv.size(0) && grad.size(1) == qkv.size(1) && grad.size(2) == qkv.size(2) &&
          grad.size(3) * 3 == qkv.size(3),
      "the gradient has to have the shape of the output, (B, H, W, C)");
  STD_TORCH_CHECK(grad.scalar_type() == qkv.scalar_type(), "the gradient has to have the dtype of qkv");
  STD_TORCH_CHECK(grad.device() == qkv.device(), "the gradient has to be on the device of qkv");
}

void check_attention(const Tensor& attention, const Tensor& qkv, const FcaShape& shape) {
  STD_TORCH_CHECK(
      attention.dim() == 4 && attention.size(0) == shape.batch && attention.size(1) == shape.groups &&
          attention.size(2) == shape.dim && attention.size(3) == shape.dim,
      "attention has to be (B, groups, M, M)");
  STD_TORCH_CHECK(attention.scalar_type() == ScalarType::Float, "attention has to be float32");
  STD_TORCH_CHECK(attention.device() == qkv.device(), "attention has to be on the device of qkv");
}

Tensor new_output(const Tensor& qkv) {
  return torch::stable::new_empty(qkv, {qkv.size(0), qkv.size(1), qkv.size(2), qkv.size(3) / 3});
}

Tensor new_like(const Tensor& qkv) {
  return torch::stable::new_empty(qkv, {qkv.size(0), qkv.size(1), qkv.size(2), qkv.size(3)});
}

Tensor new_attention(const Tensor& qkv, const FcaShape& shape) {
  return torch::stable::new_empty(qkv, {shape.batch, shape.groups, shape.dim, shape.dim}, ScalarType::Float);
}

// --- CPU

// Calls function(kernels of the dtype, a null pointer of its type).
template <class Function>
void with_kernels(const Tensor& qkv, const Function& function) {
  const cpu::InstructionSet& set = cpu::instruction_set();
  switch (qkv.scalar_type()) {
    case ScalarType::Float:
      function(*set.float32, static_cast<float*>(nullptr));
      break;
    case ScalarType::BFloat16:
      function(*set.bfloat16, static_cast<cpu::BFloat16*>(nullptr));
      break;
    default:
      STD_TORCH_CHECK(false, "the CPU kernels take float32 and bfloat16");
  }
}

template <class T>
const T* read(const Tensor& tensor, T*) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
T* write(const Tensor& tensor, T*) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

const float* read_floats(const Tensor& tensor) { return static_cast<const float*>(tensor.const_data_ptr()); }

float* write_floats(const Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

// While it lives, its thread takes numbers below 2^-126 as zero. A softmax that is all but decided has weights near
// that, and their products with small gradients lie below: on many x86 processors each of those costs over a hundred
// cycles, which made the backward pass of the channel attention 13 times as slow in a real training.
class FlushSubnormals {
 public:
#ifdef __x86_64__
  FlushSubnormals() : saved_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(saved_ | kFlush); }
  ~FlushSubnormals() { __builtin_ia32_ldmxcsr(saved_); }

 private:
  static constexpr unsigned kFlush = 0x8040;  // results and operands
  const unsigned saved_;
#else
  FlushSubnormals() {}
  ~FlushSubnormals() {}
#endif
};

template <class Function>
void parallel(int64_t items, const Function& function) {
  if (items == 0) return;
  torch::stable::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    const FlushSubnormals flush;
    function(begin, end);
  });
}

Tensor sda_cpu(const Tensor& qkv_, int64_t grid_h, int64_t grid_w, int64_t heads, double scale) {
  const SdaShape shape = sda_shape(qkv_, grid_h, grid_w, heads, scale);
  const Tensor qkv = torch::stable::contiguous(qkv_);
  Tensor out = new_output(qkv);
  with_kernels(qkv, [&](const auto& kernels, auto* type) {
    const auto* in = read(qkv, type);
    auto* result = write(out, type);
    parallel(shape.windows() * heads, [&](int64_t begin, int64_t end) {
      kernels.sda_forward(shape, in, result, begin, end);
    });
  });
  return out;
}

Tensor sda_backward_cpu(
    const Tensor& grad_, const Tensor& qkv_, int64_t grid_h, int64_t grid_w, int64_t heads, double scale) {
  const SdaShape shape = sda_shape(qkv_, grid_h, grid_w, heads, scale);
  check_grad(grad_, qkv_);
  const Tensor grad = torch::stable::contiguous(grad_), qkv = torch::stable::contiguous(qkv_);
  Tensor grad_qkv = new_like(qkv);
  with_kernels(qkv, [&](const auto& kernels, auto* type) {
    const auto* in = read(qkv, type);
    const auto* grad_in = read(grad, type);
    auto* result = write(grad_qkv, type);
    parallel(shape.windows() * heads, [&](int64_t begin, int64_t end) {
      kernels.sda_backward(shape, grad_in, in, result, begin, end);
    });
  });
  return grad_qkv;
}

std::tuple<Tensor, Tensor> fca_cpu(const Tensor& qkv_, int64_t groups, double scale) {
  const FcaShape shape = fca_shape(qkv_, groups, scale);
  const Tensor qkv = torch::stable::contiguous(qkv_);
  Tensor out = new_output(qkv);
  Tensor attention = new_attention(qkv, shape);
  const int64_t matrices = shape.batch * groups, items = matrices * cpu::fca_chunks(shape);
  std::vector<float> sums(items * shape.dim * shape.dim);
  float* attention_data = write_floats(attention);
  with_kernels(qkv, [&](const auto& kernels, auto* type) {
    const auto* in = read(qkv, type);
    auto* result = write(out, type);
    parallel(items, [&](int64_t begin, int64_t end) { kernels.fca_sum(shape, in, sums.data(), begin, end); });
    parallel(matrices, [&](int64_t begin, int64_t end) {
      kernels.fca_softmax(shape, sums.data(), attention_data, begin, end);
    });
    parallel(items, [&](int64_t begin, int64_t end) { kernels.fca_apply(shape, in, attention_data, result, begin, end); });
  });
  return {out, attention};
}

Tensor fca_backward_cpu(
    const Tensor& grad_, const Tensor& qkv_, const Tensor& attention_, int64_t groups, double scale) {
  const FcaShape shape = fca_shape(qkv_, groups, scale);
  check_grad(grad_, qkv_);
  check_attention(attention_, qkv_, shape);
  const Tensor grad = torch::stable::contiguous(grad_), qkv = torch::stable::contiguous(qkv_);
  const Tensor attention = torch::stable::contiguous(attention_);
  Tensor grad_qkv = new_like(qkv);
  const int64_t matrices = shape.batch * groups, items = matrices * cpu::fca_chunks(shape);
  std::vector<float> sums(items * shape.dim * shape.dim), grad_logits(matrices * shape.dim * shape.dim);
  const float* attention_data = read_floats(attention);
  with_kernels(qkv, [&](const auto& kernels, auto* type) {
    const auto* in = read(qkv, type);
    const auto* grad_in = read(grad, type);
    auto* result = write(grad_qkv, type);
    parallel(items, [&](int64_t begin, int64_t end) {
      kernels.fca_grad_sum(shape, grad_in, in, sums.data(), begin, end);
    });
    parallel(matrices, [&](int64_t begin, int64_t end) {
      kernels.fca_grad_softmax(shape, sums.data(), attention_data, grad_logits.data(), begin, end);
    });
    parallel(items, [&](int64_t begin, int64_t end) {
      kernels.fca_grad_apply(shape, grad_in, in, attention_data, grad_logits.data(), result, begin, end);
    });
  });
  return grad_qkv;
}

// --- CUDA

#ifdef DUALATTN_WITH_CUDA

// Makes the device of a tensor current, and names its stream and type.
class CudaCall {
 public:
  explicit CudaCall(const Tensor& qkv) : guard_(qkv.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(qkv.get_device_index(), &stream));
    target = {type_of(qkv), stream};
  }

  cuda::Target target;

 private:
  static cuda::Type type_of(const Tensor& qkv) {
    switch (qkv.scalar_type()) {
      case ScalarType::Float:
        return cuda::Type::float32;
      case ScalarType::Half:
        return cuda::Type::float16;
      case ScalarType::BFloat16:
        return cuda::Type::bfloat16;
      default:
        STD_TORCH_CHECK(false, "the CUDA kernels take float32, float16 and bfloat16");
    }
  }

  torch::stable::accelerator::DeviceGuard guard_;
};

Tensor new_sums(const Tensor& qkv, const FcaShape& shape) {
  return torch::stable::new_empty(
      qkv, {cuda::fca_chunks(shape), shape.batch, shape.groups, shape.dim, shape.dim}, ScalarType::Float);
}

Tensor sda_cuda(const Tensor& qkv_, int64_t grid_h, int64_t grid_w, int64_t heads, double scale) {
  const SdaShape shape = sda_shape(qkv_, grid_h, grid_w, heads, scale);
  const CudaCall call(qkv_);
  const Tensor qkv = torch::stable::contiguous(qkv_);
  Tensor out = new_output(qkv);
  cuda::sda_forward(call.target, shape, qkv.const_data_ptr(), out.mutable_data_ptr());
  return out;
}

Tensor sda_backward_cuda(
    const Tensor& grad_, const Tensor& qkv_, int64_t grid_h, int64_t grid_w, int64_t heads, double scale) {
  const SdaShape shape = sda_shape(qkv_, grid_h, grid_w, heads, scale);
  check_grad(grad_, qkv_);
  const CudaCall call(qkv_);
  const Tensor grad = torch::stable::contiguous(grad_), qkv = torch::stable::contiguous(qkv_);
  Tensor grad_qkv = new_like(qkv);
  cuda::sda_backward(
      call.target, shape, grad.const_data_ptr(), qkv.const_data_ptr(), grad_qkv.mutable_data_ptr());
  return grad_qkv;
}

std::tuple<Tensor, Tensor> fca_cuda(const Tensor& qkv_, int64_t groups, double scale) {
  const FcaShape shape = fca_shape(qkv_, groups, scale);
  const CudaCall call(qkv_);
  const Tensor qkv = torch::stable::contiguous(qkv_);
  Tensor out = new_output(qkv), attention = new_attention(qkv, shape), sums = new_sums(qkv, shape);
  cuda::fca_forward(
      call.target, shape, qkv.const_data_ptr(), write_floats(sums), write_floats(attention), out.mutable_data_ptr());
  return {out, attention};
}

Tensor fca_backward_cuda(
    const Tensor& grad_, const Tensor& qkv_, const Tensor& attention_, int64_t groups, double scale) {
  const FcaShape shape = fca_shape(qkv_, groups, scale);
  check_grad(grad_, qkv_);
  check_attention(attention_, qkv_, shape);
  const CudaCall call(qkv_);
  const Tensor grad = torch::stable::contiguous(grad_), qkv = torch::stable::contiguous(qkv_);
  const Tensor attention = torch::stable::contiguous(attention_);
  Tensor grad_qkv = new_like(qkv), sums = new_sums(qkv, shape);
  cuda::fca_backward(
      call.target, shape, grad.const_data_ptr(), qkv.const_data_ptr(), read_floats(attention), write_floats(sums),
      grad_qkv.mutable_data_ptr());
  return grad_qkv;
}

#endif  // DUALATTN_WITH_CUDA

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dualattn, CPU, m) {
  m.impl("sda", TORCH_BOX(&sda_cpu));
  m.impl("sda_backward", TORCH_BOX(&sda_backward_cpu));
  m.impl("fca", TORCH_BOX(&fca_cpu));
  m.impl("fca_backward", TORCH_BOX(&fca_backward_cpu));
}

#ifdef DUALATTN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(dualattn, CUDA, m) {
  m.impl("sda", TORCH_BOX(&sda_cuda));
  m.impl("sda_backward", TORCH_BOX(&sda_backward_cuda));
  m.impl("fca", TORCH_BOX(&fca_cuda));
  m.impl("fca_backward", TORCH_BOX(&fca_backward_cuda));
}
#endif

}  // namespace dualattn

// What the library holds, for dualattn/ops/library.py, which reads it with ctypes.
extern "C" {

// 1 where the CUDA kernels were compiled in
__attribute__((visibility("default"))) int dualattn_has_cuda() {
#ifdef DUALATTN_WITH_CUDA
  return 1;
#else
  return 0;
#endif
}

__attribute__((visibility("default"))) const char* dualattn_instruction_set() {
  return dualattn::cpu::instruction_set().name;
}

// 1 on success, 0 when the set was not compiled or does not run on this processor
__attribute__((visibility("default"))) int dualattn_select_instruction_set(const char* name) {
  return dualattn::cpu::select_instruction_set(name) ? 1 : 0;
}

}  // extern "C"
