// CUDA itself: its types and built-in functions. The tests compile the kernels as C++ and run them on a CPU, where
// tests/dualattn/emulation stands in for what only nvcc knows.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#ifdef DUALATTN_EMULATE_CUDA
#include "cuda_on_host.h"
#endif
