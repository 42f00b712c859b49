// Compiles every CPU kernel for one instruction set. Included by one .cpp file per set, after its target pragma and
// inside its namespace, with DUALATTN_LANES floats to a vector.
// The standard headers are included before the pragma, by the .cpp file: their inline functions are shared by the whole
// library and must not hold instructions that some processor lacks.

#include "vector.h"

#include "matrix.h"

#include "sda.h"

#include "fca.h"

#include "photo.h"

#include "block.h"

template <class T>
constexpr Kernels<T> kKernels = {
    sda_forward<T>, sda_backward<T>, fca_sum<T>,        fca_softmax,
    fca_apply<T>,   fca_grad_sum<T>, fca_grad_softmax, fca_grad_apply<T>,
};

constexpr PhotoKernels kPhotoKernels = {join<uint8_t>, join<uint16_t>, lightness<uint8_t>, lightness<uint16_t>};

constexpr BlockKernels kBlockKernels = {normalize, add_bias_gelu, add_bias_residual, convolve_depthwise};
