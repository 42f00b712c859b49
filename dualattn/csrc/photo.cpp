// Registers the kernels for photographs (cpu/photo.h) with torch, for CPUs alone: elsewhere dualattn/ops/photo.py's
// callers compute the same with torch. The schemas stand in dualattn/ops/library.py.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "cpu/kernels.h"

namespace dualattn {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kCurveNumbers = sizeof(cpu::PhotoCurve) / sizeof(float);
constexpr int64_t kSpaceNumbers = sizeof(cpu::PhotoSpace) / sizeof(float);
static_assert(kCurveNumbers == 6 && kSpaceNumbers == 23, "a list of numbers, as dualattn/ops/photo.py makes it");

void check(const Tensor& tensor, const char* name, ScalarType type, int64_t dims) {
  STD_TORCH_CHECK(tensor.is_cpu(), name, " has to be on the CPU");
  STD_TORCH_CHECK(tensor.scalar_type() == type, name, " has another dtype than the operator takes");
  STD_TORCH_CHECK(tensor.dim() == dims, name, " has to have ", dims, " dimensions, got ", tensor.dim());
  STD_TORCH_CHECK(tensor.is_contiguous(), name, " has to be contiguous");
}

// A struct of floats from a tensor of as many.
template <class Numbers>
Numbers read_numbers(const Tensor& tensor, const char* name) {
  constexpr int64_t kCount = sizeof(Numbers) / sizeof(float);
  check(tensor, name, ScalarType::Float, 1);
  STD_TORCH_CHECK(tensor.size(0) == kCount, name, " has to have ", kCount, " numbers, got ", tensor.size(0));
  return *static_cast<const Numbers*>(tensor.const_data_ptr());
}

template <class T>
const T* read(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class Function>
void parallel(int64_t items, int64_t least, const Function& function) {
  if (items > 0) torch::stable::parallel_for(0, items, least, function);
}

Tensor join_lightness(
    const Tensor& l, const Tensor& ab, const Tensor& first, const Tensor& weights, const Tensor& space,
    int64_t halvings, int64_t levels) {
  check(l, "l", ScalarType::Float, 2);
  check(ab, "ab", ScalarType::Float, 3);
  check(first, "first", ScalarType::Long, 1);
  check(weights, "weights", ScalarType::Float, 2);
  const int64_t height = l.size(0), width = l.size(1);
  STD_TORCH_CHECK(
      ab.size(0) == 2 && ab.size(2) == width, "ab has to be (2, h, W) with the width of l, ", width, ", got (",
      ab.size(0), ", ", ab.size(1), ", ", ab.size(2), ")");
  STD_TORCH_CHECK(
      first.size(0) == height && weights.size(0) == height && weights.size(1) == cpu::kTaps,
      "first has to be (H) and weights (H, ", cpu::kTaps, ") with the height of l, ", height);
  STD_TORCH_CHECK(levels == 255 || levels == 65535, "levels has to be 255 or 65535, got ", levels);
  STD_TORCH_CHECK(halvings >= 0 && halvings <= 24, "halvings has to be 0 to 24, got ", halvings);
  for (int64_t row = 0; row < height; ++row) {
    const int64_t start = read<int64_t>(first)[row];
    STD_TORCH_CHECK(
        start >= 0 && start <= ab.size(1) - cpu::kTaps, "row ", row, " starts at row ", start, " of ab, which has ",
        ab.size(1));
  }
  const auto numbers = read_numbers<cpu::PhotoSpace>(space, "space");
  const cpu::JoinCall call = {
      &numbers,   read<float>(l), read<float>(ab), read<int64_t>(first),       read<float>(weights),
      width,      ab.size(1),     halvings,        static_cast<float>(levels),
  };
  const cpu::PhotoKernels& kernels = *cpu::instruction_set().photo;
  Tensor out = torch::stable::new_empty(l, {height, width, 3}, levels == 255 ? ScalarType::Byte : ScalarType::UInt16);
  void* data = out.mutable_data_ptr();
  constexpr int64_t kLeastRows = 16;
  parallel(height, kLeastRows, [&](int64_t begin, int64_t end) {
    if (levels == 255) {
      kernels.join8(call, static_cast<uint8_t*>(data), begin, end);
    } else {
      kernels.join16(call, static_cast<uint16_t*>(data), begin, end);
    }
  });
  return out;
}

Tensor lightness(const Tensor& pixels, const Tensor& tables, const Tensor& curve) {
  const bool bytes = pixels.scalar_type() == ScalarType::Byte;
  check(pixels, "pixels", bytes ? ScalarType::Byte : ScalarType::UInt16, 3);
  check(tables, "tables", ScalarType::Float, 2);
  STD_TORCH_CHECK(pixels.size(2) == 3, "pixels has to be (H, W, 3), got ", pixels.size(2), " channels");
  const int64_t levels = bytes ? 256 : 65536;
  STD_TORCH_CHECK(
      tables.size(0) == 3 && tables.size(1) == levels, "tables has to be (3, ", levels, "), got (", tables.size(0),
      ", ", tables.size(1), ")");
  const cpu::LightnessCall call = {read<float>(tables), levels, read_numbers<cpu::PhotoCurve>(curve, "curve")};
  const cpu::PhotoKernels& kernels = *cpu::instruction_set().photo;
  Tensor l = torch::stable::new_empty(pixels, {pixels.size(0), pixels.size(1)}, ScalarType::Float);
  auto* out = static_cast<float*>(l.mutable_data_ptr());
  constexpr int64_t kLeastPixels = 1 << 16;
  parallel(pixels.size(0) * pixels.size(1), kLeastPixels, [&](int64_t begin, int64_t end) {
    if (bytes) {
      kernels.lightness8(call, read<uint8_t>(pixels), out, begin, end);
    } else {
      kernels.lightness16(call, read<uint16_t>(pixels), out, begin, end);
    }
  });
  return l;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dualattn, CPU, m) {
  m.impl("join_lightness", TORCH_BOX(&join_lightness));
  m.impl("lightness", TORCH_BOX(&lightness));
}

}  // namespace dualattn

// For dualattn/ops/library.py, which looks for it with ctypes: a library of an earlier version has no photo kernels.
extern "C" __attribute__((visibility("default"))) int dualattn_has_photo() { return 1; }
