// Every processor: vectors of four floats (SSE2, NEON), or whatever the compiler makes of them.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.h"

#define DUALATTN_LANES 4

namespace dualattn::cpu {
namespace generic_kernels {

#include "instruction_set.h"

}  // namespace generic_kernels

const InstructionSet generic = {
    "generic", [] { return true; }, &generic_kernels::kKernels<float>, &generic_kernels::kKernels<BFloat16>,
    &generic_kernels::kPhotoKernels, &generic_kernels::kBlockKernels};

}  // namespace dualattn::cpu
