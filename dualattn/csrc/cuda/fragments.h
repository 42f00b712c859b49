// Products of small matrices on tensor cores, out of shared memory.
//
// A warp multiplies A (16 x 16) by B (16 x 8) at a time. Which lane holds which number is fixed by the hardware:
//   accumulators C (16 x 8): lane l holds rows l / 4 and l / 4 + 8, columns 2 (l % 4) and the next;
//   A and B are loaded by `load_matrices` as four 8 x 8 matrices, of each of which eight lanes name the rows.
// All matrices in shared memory are stored by rows of kStride<kWidth> numbers: 16 bytes more than kWidth, so that the
// eight rows of an 8 x 8 matrix start in different banks.
//
// Two C side by side, rounded to 16 bits, are an A: what one product gives can be the left operand of the next without
// leaving the registers.
#pragma once

#include "instructions.h"

namespace dualattn::cuda {

template <int kWidth>
constexpr int kStride = kWidth + 8;

using Fragment = uint32_t[4];  // of A, or two of B
using Accumulator = float[4];  // of C
constexpr int kFullWarp = 32;

// Where lane l points: at the row of a matrix that load_matrices puts in this place.
struct MatrixRow {
  int row, column;
};

// [rows 0-7, columns 0-7] [rows 8-15, columns 0-7] [rows 0-7, columns 8-15] [rows 8-15, columns 8-15]
__host__ __device__ constexpr MatrixRow rows_first(int lane) { return {lane % 16, lane / 16 * 8}; }

// [rows 0-7, columns 0-7] [rows 0-7, columns 8-15] [rows 8-15, columns 0-7] [rows 8-15, columns 8-15]
__host__ __device__ constexpr MatrixRow columns_first(int lane) { return {lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8}; }

// Rows and columns of the accumulators that a lane holds.
__host__ __device__ constexpr int accumulator_row(int lane, int i) { return lane / 4 + i / 2 * 8; }

__host__ __device__ constexpr int accumulator_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

// The sum and the maximum over a quad, the four lanes that hold the same rows of C.
__device__ inline float add_quad(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ inline float max_quad(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// a = rows [0, 16) and columns [column, column + 16) of a stored matrix
template <int kWidth, class T>
__device__ inline void load_left(Fragment& a, const T* matrix, int column, int lane) {
  const MatrixRow from = rows_first(lane);
  load_matrices(a, matrix + from.row * kStride<kWidth> + column + from.column);
}

// a = the same for the transposed matrix: columns [column, column + 16) become the rows
template <int kWidth, class T>
__device__ inline void load_left_transposed(Fragment& a, const T* matrix, int column, int lane) {
  const MatrixRow from = columns_first(lane);
  load_matrices_transposed(a, matrix + from.row * kStride<kWidth> + column + from.column);
}

// a = (c[0] c[1]) rounded to T
template <class T>
__device__ inline void round_to_left(Fragment& a, const Accumulator& c0, const Accumulator& c1) {
  a[0] = pack<T>(c0[0], c0[1]);
  a[1] = pack<T>(c0[2], c0[3]);
  a[2] = pack<T>(c1[0], c1[1]);
  a[3] = pack<T>(c1[2], c1[3]);
}

// c (16 x 8 kTiles) += a (16 x kWidth) times the transpose of the stored rows [0, 8 kTiles), of which those from `count`
// on are left out, in steps of 16.
template <int kWidth, int kTiles, class T>
__device__ inline void multiply_by_rows(
    Accumulator (&c)[kTiles], const Fragment (&a)[kWidth / 16], const T* matrix, int count, int lane) {
  const MatrixRow from = columns_first(lane);
  const T* start = matrix + from.row * kStride<kWidth> + from.column;
#pragma unroll
  for (int tile = 0; tile < kTiles; tile += 2) {
    if (8 * tile >= count) break;
#pragma unroll
    for (int step = 0; step < kWidth / 16; ++step) {
      Fragment b;
      load_matrices(b, start + 8 * tile * kStride<kWidth> + 16 * step);
      multiply_add<T>(c[tile], a[step], b[0], b[1]);
      multiply_add<T>(c[tile + 1], a[step], b[2], b[3]);
    }
  }
}

// c (16 x kWidth) += a (16 x 16) times the stored rows [0, 16)
template <int kWidth, class T>
__device__ inline void multiply_by_columns(Accumulator (&c)[kWidth / 8], const Fragment& a, const T* matrix, int lane) {
  const MatrixRow from = rows_first(lane);
  const T* start = matrix + from.row * kStride<kWidth> + from.column;
#pragma unroll
  for (int tile = 0; tile < kWidth / 8; tile += 2) {
    Fragment b;
    load_matrices_transposed(b, start + 8 * tile);
    multiply_add<T>(c[tile], a, b[0], b[1]);
    multiply_add<T>(c[tile + 1], a, b[2], b[3]);
  }
}

// Rows [0, 16) of a stored matrix = c, row r times factors[0] or, from row 8 on, factors[1]. The caller keeps the warp
// together before and after.
template <int kWidth, class T>
__device__ inline void store_rows(
    T* matrix, const Accumulator (&c)[kWidth / 8], float factor0, float factor1, int lane) {
  T* start = matrix + accumulator_row(lane, 0) * kStride<kWidth> + accumulator_column(lane, 0);
#pragma unroll
  for (int tile = 0; tile < kWidth / 8; ++tile) {
    *reinterpret_cast<uint32_t*>(start + 8 * tile) = pack<T>(c[tile][0] * factor0, c[tile][1] * factor0);
    *reinterpret_cast<uint32_t*>(start + 8 * kStride<kWidth> + 8 * tile) =
        pack<T>(c[tile][2] * factor1, c[tile][3] * factor1);
  }
}

}  // namespace dualattn::cuda
