// CUDA as C++ on a CPU, as much of it as the kernels use: so that they run, unchanged, where there is no GPU.
//
// Every thread of a block is a fiber, which runs until it has to wait for others: at a barrier, or for an instruction of
// the whole warp. The warps have an order of precedence, and each runs as far ahead of the next as barriers allow;
// `emulated_order` shuffles it, and the threads of a warp: where a barrier is missing, the result depends on it. Dynamic
// shared memory starts as NaN for every block; blocks run one by one. What this cannot show: a missing barrier of a warp
// between two instructions of that warp, whose threads keep together anyway, and anything about speed.
// The tensor-core instructions follow the tables of the PTX manual ("Matrix Fragments for mma.m16n8k16", "ldmatrix").
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)

namespace dualattn::cuda {

constexpr int kWarp = 32;

enum class Wait { none, warp, block, done };

struct Copy {
  void* shared;
  const void* global;
  bool real;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  uint3 thread;
  Wait wait;
  std::vector<std::vector<Copy>> copies;  // asynchronous ones in their groups, of which the last is still open
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  std::function<void()> kernel;
  std::vector<uint4> shared;
  std::vector<uint64_t> exchange;  // kPerLane words for each thread, for the instructions of a whole warp
  int running = 0;
};

constexpr int kPerLane = 8;

inline Block emulated_block;
inline uint3 emulated_block_index;
inline dim3 emulated_block_size;
inline unsigned emulated_order = 0;

inline void wait_for(Wait what) {
  Fiber& fiber = emulated_block.fibers[emulated_block.running];
  fiber.wait = what;
  swapcontext(&fiber.context, &emulated_block.scheduler);
}

inline void run_fiber() {
  emulated_block.kernel();
  emulated_block.fibers[emulated_block.running].wait = Wait::done;
}

// Releases the threads [begin, end) when each of them waits for `what` or has ended; tells whether any was released.
inline bool release(int begin, int end, Wait what) {
  bool any = false;
  for (int i = begin; i < end; ++i) {
    const Wait wait = emulated_block.fibers[i].wait;
    if (wait != what && wait != Wait::done) return false;
    any |= wait == what;
  }
  for (int i = begin; i < end; ++i) {
    if (emulated_block.fibers[i].wait == what) emulated_block.fibers[i].wait = Wait::none;
  }
  return any;
}

// Runs the threads of the warp that begins at `first`, each until it waits; tells whether any could.
inline bool run_warp(int first, std::mt19937& random) {
  int order[kWarp];
  for (int lane = 0; lane < kWarp; ++lane) order[lane] = first + lane;
  std::shuffle(order, order + kWarp, random);
  bool any = false;
  for (const int i : order) {
    if (emulated_block.fibers[i].wait != Wait::none) continue;
    any = true;
    emulated_block.running = i;
    swapcontext(&emulated_block.scheduler, &emulated_block.fibers[i].context);
  }
  return release(first, first + kWarp, Wait::warp) || any;
}

inline void run_block(int threads, int64_t shared_bytes, std::mt19937& random) {
  constexpr int64_t kStack = 256 * 1024;
  Block& block = emulated_block;
  const uint4 nan = {~0u, ~0u, ~0u, ~0u};
  block.shared.assign((shared_bytes + 15) / 16, nan);
  block.exchange.assign(threads * kPerLane, 0);
  block.fibers.resize(threads);
  std::vector<int> warps(threads / kWarp);
  for (size_t i = 0; i < warps.size(); ++i) warps[i] = static_cast<int>(i) * kWarp;
  std::shuffle(warps.begin(), warps.end(), random);
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    fiber.thread = {static_cast<unsigned>(i), 0, 0};
    fiber.wait = Wait::none;
    fiber.copies.assign(1, {});
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &block.scheduler;
    makecontext(&fiber.context, run_fiber, 0);
  }
  do {
    for (size_t i = 0; i < warps.size();) i = run_warp(warps[i], random) ? 0 : i + 1;
  } while (release(0, threads, Wait::block));
  for (const Fiber& fiber : block.fibers) {
    if (fiber.wait == Wait::done) continue;
    std::fprintf(stderr, "deadlock: some threads of a warp or block wait for others that do not come\n");
    std::exit(1);
  }
}

inline void emulate(int64_t blocks, int64_t threads, int64_t shared_bytes, const std::function<void()>& kernel) {
  if (threads % kWarp != 0 || threads < 1 || threads > 1024 || shared_bytes > 227 * 1024) {
    std::fprintf(stderr, "no such launch: %ld threads, %ld bytes of shared memory\n", threads, shared_bytes);
    std::exit(1);
  }
  std::mt19937 random(emulated_order);
  emulated_block.kernel = kernel;
  emulated_block_size = dim3(threads);
  for (int64_t index = 0; index < blocks; ++index) {
    emulated_block_index = {static_cast<unsigned>(index), 0, 0};
    run_block(static_cast<int>(threads), shared_bytes, random);
  }
}

// --- what CUDA has built in

#define threadIdx (::dualattn::cuda::emulated_block.fibers[::dualattn::cuda::emulated_block.running].thread)
#define blockIdx (::dualattn::cuda::emulated_block_index)
#define blockDim (::dualattn::cuda::emulated_block_size)

inline void __syncthreads() { wait_for(Wait::block); }

inline void __syncwarp() { wait_for(Wait::warp); }

using std::max;
using std::min;

// Gives every lane what all lanes of its warp put in.
template <class Value, class Function>
auto combine_warp(const Value& mine, const Function& function) {
  static_assert(sizeof(Value) <= kPerLane * sizeof(uint64_t));
  const int thread = emulated_block.running;
  std::memcpy(&emulated_block.exchange[thread * kPerLane], &mine, sizeof(Value));
  wait_for(Wait::warp);
  Value all[kWarp];
  for (int lane = 0; lane < kWarp; ++lane) {
    std::memcpy(&all[lane], &emulated_block.exchange[(thread / kWarp * kWarp + lane) * kPerLane], sizeof(Value));
  }
  const auto result = function(all, thread % kWarp);
  wait_for(Wait::warp);
  return result;
}

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  return combine_warp(value, [&](const float* all, int lane) { return all[lane ^ mask]; });
}

// --- what instructions.h writes as PTX

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulated_block.shared.data());
}

inline float exp2_fast(float x) { return std::exp2(x); }

struct Four {
  uint32_t values[4];
};

// Matrix i is 8 rows of 8 numbers, whose addresses lanes 8 i to 8 i + 7 give. Lane l gets numbers 2 (l % 4) and the
// next of row l / 4, or, transposed, of column l / 4.
inline void load_matrices(uint32_t (&result)[4], const void* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    std::fprintf(stderr, "ldmatrix: a row is not on a 16-byte boundary\n");
    std::exit(1);
  }
  const auto* mine = static_cast<const uint16_t*>(row);
  const Four four = combine_warp(mine, [&](const uint16_t* const* rows, int lane) {
    Four result;
    for (int matrix = 0; matrix < 4; ++matrix) {
      uint16_t pair[2];
      for (int e = 0; e < 2; ++e) {
        const int in_row = transposed ? 2 * (lane % 4) + e : lane / 4;
        const int in_column = transposed ? lane / 4 : 2 * (lane % 4) + e;
        pair[e] = rows[8 * matrix + in_row][in_column];
      }
      result.values[matrix] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    }
    return result;
  });
  std::copy(four.values, four.values + 4, result);
}

inline void load_matrices(uint32_t (&result)[4], const void* row) { load_matrices(result, row, false); }

inline void load_matrices_transposed(uint32_t (&result)[4], const void* row) { load_matrices(result, row, true); }

template <class T>
double half_of(uint32_t pair, int e) {
  const uint16_t bits = static_cast<uint16_t>(pair >> (16 * e));
  T value;
  std::memcpy(&value, &bits, sizeof(value));
  return static_cast<double>(static_cast<float>(value));
}

// A is 16 x 16, B 16 x 8, C 16 x 8.
template <class T>
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Operands {
    uint32_t a[4], b[2];
  } mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  struct Result {
    double values[4];
  };
  const Result product = combine_warp(mine, [&](const Operands* all, int lane) {
    double left[16][16], right[16][8];
    for (int l = 0; l < kWarp; ++l) {
      const int group = l / 4, in_group = l % 4;
      for (int e = 0; e < 2; ++e) {
        for (int i = 0; i < 4; ++i) {
          left[group + 8 * (i % 2)][2 * in_group + e + 8 * (i / 2)] = half_of<T>(all[l].a[i], e);
        }
        for (int i = 0; i < 2; ++i) right[2 * in_group + e + 8 * i][group] = half_of<T>(all[l].b[i], e);
      }
    }
    Result result = {};
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      for (int k = 0; k < 16; ++k) result.values[i] += left[row][k] * right[k][column];
    }
    return result;
  });
  for (int i = 0; i < 4; ++i) c[i] = static_cast<float>(c[i] + product.values[i]);
}

inline void copy_async(void* shared, const void* global, bool real) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0) {
    std::fprintf(stderr, "cp.async: an address is not on a 16-byte boundary\n");
    std::exit(1);
  }
  emulated_block.fibers[emulated_block.running].copies.back().push_back({shared, global, real});
}

inline void commit_copies() { emulated_block.fibers[emulated_block.running].copies.emplace_back(); }

// Copies happen as late as they may: whoever reads before waiting reads NaN.
template <int kLeft>
void wait_for_copies() {
  std::vector<std::vector<Copy>>& groups = emulated_block.fibers[emulated_block.running].copies;
  for (size_t i = 0; i + 1 + kLeft < groups.size(); ++i) {
    for (const Copy& copy : groups[i]) {
      const uint4 zero{};
      std::memcpy(copy.shared, copy.real ? copy.global : &zero, 16);
    }
    groups[i].clear();
  }
}

}  // namespace dualattn::cuda
