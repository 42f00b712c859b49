// Runs the CUDA kernels on a CPU, forward and backward, and writes what they return.
//
//   emulate simt|mma sda|fca TYPE B H W GRID_H GRID_W PARTS DIM SCALE ORDER < qkv, grad > out, grad_qkv[, attention]
//
// TYPE is 0 float32, 1 float16, 2 bfloat16; PARTS are heads or groups; ORDER seeds the order of the threads.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "fca.h"
#include "launch.h"
#include "window.h"

namespace {

// exactly as large as the tensor, so that AddressSanitizer sees every access beyond it
using Buffer = std::vector<char>;

Buffer read(size_t bytes) {
  Buffer buffer(bytes);
  if (std::fread(buffer.data(), 1, bytes, stdin) != bytes) std::exit(2);
  return buffer;
}

void write(const Buffer& buffer) { std::fwrite(buffer.data(), 1, buffer.size(), stdout); }

bool window_divides() {
  for (int columns = 1; columns <= 256; ++columns) {
    const unsigned reciprocal = dualattn::cuda::Window::reciprocal_of(columns);
    for (int t = 0; t < 256; ++t) {
      if (dualattn::cuda::Window::divide(t, reciprocal) != t / columns) return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace dualattn;
  if (argc != 13) return 2;
  if (!window_divides()) return 3;
  const bool tensor_cores = std::string(argv[1]) == "mma";
  const auto number = [&](int i) { return std::atoll(argv[i]); };
  const auto type = static_cast<cuda::Type>(number(3));
  const int64_t batch = number(4), height = number(5), width = number(6), parts = number(9), dim = number(10);
  const float scale = std::strtof(argv[11], nullptr);
  cuda::emulated_order = static_cast<unsigned>(number(12));

  const int64_t size = batch * height * width * parts * dim * (type == cuda::Type::float32 ? 4 : 2);
  const Buffer qkv = read(3 * size), grad = read(size);
  Buffer out(size, '\xff'), grad_qkv(3 * size, '\xff');
  const cuda::Target target = {type, nullptr};
  if (std::string(argv[2]) == "sda") {
    const int64_t grid_h = number(7), grid_w = number(8);
    const SdaShape shape = {
        batch, height, width, parts, dim, grid_h, grid_w, (height + grid_h - 1) / grid_h, (width + grid_w - 1) / grid_w,
        scale};
    (tensor_cores ? cuda::mma::sda_forward : cuda::simt::sda_forward)(target, shape, qkv.data(), out.data());
    (tensor_cores ? cuda::mma::sda_backward : cuda::simt::sda_backward)(
        target, shape, grad.data(), qkv.data(), grad_qkv.data());
    write(out);
    write(grad_qkv);
  } else {
    const FcaShape shape = {batch, height * width, parts, dim, scale};
    const int64_t matrices = batch * parts * dim * dim;
    std::vector<float> attention(matrices, NAN), sums(cuda::split_tokens(shape).chunks * matrices, NAN);
    (tensor_cores ? cuda::mma::fca_forward : cuda::simt::fca_forward)(
        target, shape, qkv.data(), sums.data(), attention.data(), out.data());
    (tensor_cores ? cuda::mma::fca_backward : cuda::simt::fca_backward)(
        target, shape, grad.data(), qkv.data(), attention.data(), sums.data(), grad_qkv.data());
    write(out);
    write(grad_qkv);
    Buffer bytes(matrices * sizeof(float));
    std::memcpy(bytes.data(), attention.data(), bytes.size());
    write(bytes);
  }
}
