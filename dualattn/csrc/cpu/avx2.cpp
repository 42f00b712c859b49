// AVX2 and FMA: x86 processors since 2013.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.h"

#ifdef __x86_64__

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define DUALATTN_LANES 8

namespace dualattn::cpu {
namespace avx2_kernels {

#include "instruction_set.h"

}  // namespace avx2_kernels

const InstructionSet avx2 = {
    "avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); },
    &avx2_kernels::kKernels<float>, &avx2_kernels::kKernels<BFloat16>,
    &avx2_kernels::kPhotoKernels, &avx2_kernels::kBlockKernels};

}  // namespace dualattn::cpu

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif  // __x86_64__
