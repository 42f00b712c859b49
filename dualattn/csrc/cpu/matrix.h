// Products of small matrices that lie in the cache: the one loop in which the kernels spend their time.
// No include guard and no namespace: see vector.h.

// The left operand, read one number at a time; a transposed matrix is one with the two steps exchanged.
struct Scalars {
  const float* data;
  int64_t row_step, inner_step;
};

// The right operand, read one vector of columns at a time.
struct Rows {
  const float* data;
  int64_t row_step;
};

// One kRows x (kVectors * kLanes) tile of the product, all of it in registers.
template <int kRows, int kVectors>
DUALATTN_INLINE void multiply_tile(
    Scalars left, Rows right, int64_t inner, bool accumulate, float* out, int64_t out_step) {
  Vector sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sum[r][v] = Vector{};
  }
  for (int64_t k = 0; k < inner; ++k) {
    Vector columns[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) columns[v] = load(right.data + k * right.row_step + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector number = broadcast(left.data[r * left.row_step + k * left.inner_step]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[r][v] += number * columns[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      float* to = out + r * out_step + v * kLanes;
      store(to, accumulate ? load(to) + sum[r][v] : sum[r][v]);  // added last: blocks round less than one long sum
    }
  }
}

// kVectors vectors of columns: blocks of 6 rows, then 2, then 1
template <int kVectors>
void multiply_columns(
    Scalars left, Rows right, int rows, int64_t inner, bool accumulate, float* out, int64_t out_step) {
  const auto advance = [&](int count) {
    left.data += count * left.row_step;
    out += count * out_step;
    rows -= count;
  };
  for (; rows >= 6; advance(6)) multiply_tile<6, kVectors>(left, right, inner, accumulate, out, out_step);
  for (; rows >= 2; advance(2)) multiply_tile<2, kVectors>(left, right, inner, accumulate, out, out_step);
  for (; rows >= 1; advance(1)) multiply_tile<1, kVectors>(left, right, inner, accumulate, out, out_step);
}

// out = left * right, or out += left * right; (rows x inner) * (inner x vectors * kLanes).
// 6 x 4 accumulators, 4 columns and 1 number fill the 32 registers of AVX-512; 6 x 2 + 2 + 1 the 16 of AVX2.
__attribute__((noinline)) void multiply(
    Scalars left, Rows right, int rows, int64_t vectors, int64_t inner, bool accumulate, float* out,
    int64_t out_step) {
  const auto advance = [&](int64_t count) {
    right.data += count * kLanes;
    out += count * kLanes;
    vectors -= count;
  };
#if DUALATTN_LANES == 16
  for (; vectors >= 4; advance(4)) multiply_columns<4>(left, right, rows, inner, accumulate, out, out_step);
  for (; vectors >= 3; advance(3)) multiply_columns<3>(left, right, rows, inner, accumulate, out, out_step);
#endif
  for (; vectors >= 2; advance(2)) multiply_columns<2>(left, right, rows, inner, accumulate, out, out_step);
  for (; vectors >= 1; advance(1)) multiply_columns<1>(left, right, rows, inner, accumulate, out, out_step);
}
