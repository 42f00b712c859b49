// AVX-512 (F, BW, DQ, VL): most x86 server processors since 2017.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.h"

#ifdef __x86_64__

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#define DUALATTN_LANES 16

namespace dualattn::cpu {
namespace avx512_kernels {

#include "instruction_set.h"

}  // namespace avx512_kernels

const InstructionSet avx512 = {
    "avx512",
    [] {
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    },
    &avx512_kernels::kKernels<float>, &avx512_kernels::kKernels<BFloat16>,
    &avx512_kernels::kPhotoKernels, &avx512_kernels::kBlockKernels};

}  // namespace dualattn::cpu

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif  // __x86_64__
