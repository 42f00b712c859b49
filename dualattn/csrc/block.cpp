// Registers the parts of a residual block as they run on a CPU where no gradient is wanted. Each is computed piece by
// piece, so that what stands between two matrix products never leaves the cache and its memory is used again; the
// products are torch's, and so whatever `dualattn.fast_matmul` has chosen. The schemas stand in dualattn/ops/library.py.
//
// A product without bias and the bias afterwards, together with what follows it: torch's own linear layer copies its
// bias over the result before it multiplies, which costs as much as a tenth of the product.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "cpu/kernels.h"

namespace dualattn {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kPieceNumbers = 1 << 18;  // 1 MiB of float32, half the second-level cache of a core
constexpr int64_t kLeastTokens = 384;       // below, a product waits for its weights
constexpr int64_t kLeastNumbers = 1 << 14;  // for a thread

void check(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.is_cpu(), name, " has to be on the CPU");
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float, name, " has to be float32");
}

// A parameter as it lies in memory, of the sizes that the operator needs.
Tensor check_parameter(const Tensor& tensor, const char* name, const std::vector<int64_t>& sizes) {
  check(tensor, name);
  bool fits = tensor.dim() == static_cast<int64_t>(sizes.size());
  for (size_t i = 0; fits && i < sizes.size(); ++i) fits = tensor.size(i) == sizes[i];
  STD_TORCH_CHECK(fits, name, " does not have the sizes that the other arguments ask for");
  return torch::stable::contiguous(tensor);
}

int64_t last_size(const Tensor& x) {
  check(x, "x");
  STD_TORCH_CHECK(x.dim() >= 1 && x.size(x.dim() - 1) > 0, "x has to hold at least one channel");
  return x.size(x.dim() - 1);
}

int64_t first_size(const Tensor& weight, const char* name) {
  STD_TORCH_CHECK(weight.dim() >= 1 && weight.size(0) > 0, name, " has to have outputs");
  return weight.size(0);
}

const float* read(const Tensor& tensor) { return static_cast<const float*>(tensor.const_data_ptr()); }

float* write(const Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

Tensor make_like(const Tensor& x, int64_t channels) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i + 1 < x.dim(); ++i) sizes.push_back(x.size(i));
  sizes.push_back(channels);
  return torch::stable::new_empty(x, sizes);
}

Tensor view_tokens(const Tensor& x) {
  const int64_t channels = x.size(x.dim() - 1);
  return torch::stable::view(x, {x.numel() / channels, channels});
}

Tensor narrow_rows(Tensor x, int64_t first, int64_t count) { return torch::stable::narrow(x, 0, first, count); }

// out = a b
void multiply(const Tensor& a, const Tensor& b, const Tensor& out) {
  std::array<StableIValue, 3> stack{
      torch::stable::detail::from(a), torch::stable::detail::from(b), torch::stable::detail::from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // the call returns another handle of `out`, which is ours to free
}

// Tokens at a time of which `width` numbers each are to stay in the caches of all threads.
int64_t piece_tokens(int64_t width) {
  return std::max(kPieceNumbers / width, kLeastTokens) * static_cast<int64_t>(torch::stable::get_num_threads());
}

template <class Function>
void parallel(int64_t items, int64_t numbers, const Function& function) {
  if (items > 0) {
    torch::stable::parallel_for(0, items, std::max<int64_t>(1, kLeastNumbers / std::max<int64_t>(1, numbers)), function);
  }
}

struct Norm {
  Norm(const Tensor& weight_, const Tensor& bias_, double eps, int64_t channels)
      : weight(check_parameter(weight_, "norm_weight", {channels})),
        bias(check_parameter(bias_, "norm_bias", {channels})),
        call{read(weight), read(bias), static_cast<float>(eps), channels} {}

  // out = the normal tokens of x
  void apply(const float* x, float* out, int64_t tokens) const {
    const cpu::BlockKernels& kernels = *cpu::instruction_set().block;
    parallel(tokens, call.channels, [&](int64_t begin, int64_t end) { kernels.normalize(call, x, out, begin, end); });
  }

  Tensor weight, bias;
  cpu::NormalizeCall call;
};

// x + fc2(gelu(fc1(norm(x)))): the hidden map of a piece, `mlp_ratio` times as wide as the map, is all that is kept.
Tensor residual_mlp(
    const Tensor& x_, const Tensor& norm_weight, const Tensor& norm_bias, double eps, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& fc2_bias) {
  const int64_t channels = last_size(x_), hidden = first_size(fc1_weight, "fc1_weight");
  const Norm norm(norm_weight, norm_bias, eps, channels);
  const Tensor first = check_parameter(fc1_weight, "fc1_weight", {hidden, channels});
  const Tensor first_bias = check_parameter(fc1_bias, "fc1_bias", {hidden});
  const Tensor second = check_parameter(fc2_weight, "fc2_weight", {channels, hidden});
  const Tensor second_bias = check_parameter(fc2_bias, "fc2_bias", {channels});
  const Tensor x = torch::stable::contiguous(x_);
  const Tensor out = make_like(x, channels);
  const Tensor first_t = torch::stable::transpose(first, 0, 1), second_t = torch::stable::transpose(second, 0, 1);
  const Tensor results = view_tokens(out);
  const int64_t tokens = results.size(0), piece = std::min(tokens, piece_tokens(hidden));
  const Tensor normal = torch::stable::new_empty(x, {piece, channels});
  const Tensor between = torch::stable::new_empty(x, {piece, hidden});
  const cpu::BlockKernels& kernels = *cpu::instruction_set().block;
  for (int64_t start = 0; start < tokens; start += piece) {
    const int64_t count = std::min(piece, tokens - start);
    const float* source = read(x) + start * channels;
    norm.apply(source, write(normal), count);
    const Tensor map = narrow_rows(between, 0, count);
    multiply(narrow_rows(normal, 0, count), first_t, map);
    parallel(count, hidden, [&](int64_t begin, int64_t end) {
      kernels.add_bias_gelu(write(between), read(first_bias), hidden, begin, end);
    });
    multiply(map, second_t, narrow_rows(results, start, count));
    parallel(count, channels, [&](int64_t begin, int64_t end) {
      kernels.add_bias_residual(
          write(out) + start * channels, read(second_bias), source, channels, begin, end);
    });
  }
  return out;
}

// residual + linear(x)
Tensor linear_residual(const Tensor& x_, const Tensor& weight_, const Tensor& bias_, const Tensor& residual_) {
  const int64_t inputs = last_size(x_), outputs = first_size(weight_, "weight");
  const Tensor weight = check_parameter(weight_, "weight", {outputs, inputs});
  const Tensor bias = check_parameter(bias_, "bias", {outputs});
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i + 1 < x_.dim(); ++i) sizes.push_back(x_.size(i));
  sizes.push_back(outputs);
  const Tensor residual = check_parameter(residual_, "residual", sizes);
  const Tensor x = torch::stable::contiguous(x_), weight_t = torch::stable::transpose(weight, 0, 1);
  const Tensor out = make_like(x, outputs), sources = view_tokens(x), results = view_tokens(out);
  const int64_t tokens = results.size(0), piece = piece_tokens(outputs);
  const cpu::BlockKernels& kernels = *cpu::instruction_set().block;
  for (int64_t start = 0; start < tokens; start += piece) {
    const int64_t count = std::min(piece, tokens - start);
    multiply(narrow_rows(sources, start, count), weight_t, narrow_rows(results, start, count));
    parallel(count, outputs, [&](int64_t begin, int64_t end) {
      kernels.add_bias_residual(
          write(out) + start * outputs, read(bias), read(residual) + start * outputs, outputs, begin, end);
    });
  }
  return out;
}

// weights (9, channels) of weight (channels, 1, 3, 3), and biases (16, channels) as DepthwiseCall wants them
void spread_depthwise(
    const float* weight, const float* bias, const float* input_bias, int64_t channels, std::vector<float>& weights,
    std::vector<float>& biases) {
  weights.resize(9 * channels);
  biases.resize(16 * channels);
  for (int64_t c = 0; c < channels; ++c) {
    for (int tap = 0; tap < 9; ++tap) weights[tap * channels + c] = weight[c * 9 + tap];
  }
  for (int kind = 0; kind < 16; ++kind) {
    float* target = biases.data() + kind * channels;
    std::copy(bias, bias + channels, target);
    for (int tap = 0; tap < 9; ++tap) {
      const int dy = tap / 3, dx = tap % 3;
      const bool beyond = (dy == 0 && !(kind & 1)) || (dy == 2 && !(kind & 2)) || (dx == 0 && !(kind & 4)) ||
                          (dx == 2 && !(kind & 8));
      if (beyond) continue;
      for (int64_t c = 0; c < channels; ++c) target[c] += weights[tap * channels + c] * input_bias[c];
    }
  }
}

// depthwise(pointwise(norm(x))). The maps stand on one another as one stack of rows, of which a band is computed at a
// time: the pointwise product of its rows and of one more above and below, which the band before has left behind.
Tensor norm_project(
    const Tensor& x_, const Tensor& norm_weight, const Tensor& norm_bias, double eps, const Tensor& pointwise_weight,
    const Tensor& pointwise_bias, const Tensor& depthwise_weight, const Tensor& depthwise_bias) {
  STD_TORCH_CHECK(x_.dim() == 4, "x has to be (B, H, W, C), got ", x_.dim(), " dimensions");
  const int64_t channels = last_size(x_), outputs = first_size(pointwise_weight, "pointwise_weight");
  const Norm norm(norm_weight, norm_bias, eps, channels);
  const Tensor pointwise = check_parameter(pointwise_weight, "pointwise_weight", {outputs, channels});
  const Tensor between_bias = check_parameter(pointwise_bias, "pointwise_bias", {outputs});
  const Tensor depthwise = check_parameter(depthwise_weight, "depthwise_weight", {outputs, 1, 3, 3});
  const Tensor bias = check_parameter(depthwise_bias, "depthwise_bias", {outputs});
  const Tensor x = torch::stable::contiguous(x_);
  const Tensor out = make_like(x, outputs);
  const int64_t height = x.size(1), width = x.size(2), stack = x.size(0) * height;
  if (stack == 0 || width == 0) return out;
  std::vector<float> weights, biases;
  spread_depthwise(read(depthwise), read(bias), read(between_bias), outputs, weights, biases);
  const Tensor pointwise_t = torch::stable::transpose(pointwise, 0, 1);
  const int64_t band = std::min(stack, std::max<int64_t>(1, piece_tokens(outputs) / width)), row = width * outputs;
  const Tensor normal = torch::stable::new_empty(x, {(band + 1) * width, channels});
  const Tensor between = torch::stable::new_empty(x, {(band + 2) * width, outputs});
  const cpu::BlockKernels& kernels = *cpu::instruction_set().block;
  int64_t kept = 0, known = 0;  // `between` holds the rows [kept, known) of the stack
  for (int64_t start = 0; start < stack; start += band) {
    const int64_t stop = std::min(start + band, stack), needed = std::min(stop + 1, stack);
    const int64_t first = std::max<int64_t>(start - 1, 0);
    std::memmove(write(between), read(between) + (first - kept) * row, (known - first) * row * sizeof(float));
    kept = first;
    const int64_t tokens = (needed - known) * width;
    if (tokens > 0) {
      norm.apply(read(x) + known * width * channels, write(normal), tokens);
      multiply(
          narrow_rows(normal, 0, tokens), pointwise_t, narrow_rows(between, (known - kept) * width, tokens));
      known = needed;
    }
    const cpu::DepthwiseCall call = {
        read(between), weights.data(), biases.data(), write(out), kept, height, width, outputs,
    };
    parallel(stop - start, row, [&](int64_t begin, int64_t end) {
      kernels.convolve_depthwise(call, start + begin, start + end);
    });
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dualattn, CPU, m) {
  m.impl("residual_mlp", TORCH_BOX(&residual_mlp));
  m.impl("linear_residual", TORCH_BOX(&linear_residual));
  m.impl("norm_project", TORCH_BOX(&norm_project));
}

}  // namespace dualattn

// For dualattn/ops/library.py, which looks for it with ctypes: a library of an earlier version has no such kernels.
extern "C" __attribute__((visibility("default"))) int dualattn_has_block() { return 1; }
