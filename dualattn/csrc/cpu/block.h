// What stands between the matrix products of a residual block: normalisation, bias, GELU, residual, and the depthwise
// 3x3 convolution. float32; the products themselves are torch's.
// No include guard and no namespace: see vector.h.
//
// Mapping: a work item is a token, of the convolution a row of a map; lanes are neighbouring channels. The caller hands
// over pieces that lie in a cache, so these functions are bound by arithmetic: GELU takes 21 flops and a division a
// number, the convolution 18 flops.

#define DUALATTN_LAMBDA __attribute__((always_inline))

// In every lane the sum of all.
template <int... lane>
DUALATTN_INLINE Vector sum_lanes(Vector x, std::integer_sequence<int, lane...>) {
#ifdef __clang__
#define DUALATTN_SWAP(distance) __builtin_shufflevector(x, x, (lane ^ (distance))...)
#else
#define DUALATTN_SWAP(distance) __builtin_shuffle(x, Integers{(lane ^ (distance))...})
#endif
  if constexpr (kLanes > 8) x += DUALATTN_SWAP(8);
  if constexpr (kLanes > 4) x += DUALATTN_SWAP(4);
  x += DUALATTN_SWAP(2);
  x += DUALATTN_SWAP(1);
#undef DUALATTN_SWAP
  return x;
}

// Calls function(first channel, std::true_type) for whole vectors, and once with std::false_type for what is left.
template <class Function>
DUALATTN_INLINE void for_channels(int64_t channels, const Function& function) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) function(c, std::true_type());
  if (c < channels) function(c, std::false_type());
}

template <bool kWhole>
DUALATTN_INLINE Vector load_part(const float* row, int64_t c, int64_t channels, std::bool_constant<kWhole>) {
  if constexpr (kWhole) return load(row + c);
  return load_some(row + c, static_cast<int>(channels - c));
}

template <bool kWhole>
DUALATTN_INLINE void store_part(float* row, int64_t c, int64_t channels, Vector x, std::bool_constant<kWhole>) {
  if constexpr (kWhole) {
    store(row + c, x);
  } else {
    store_some(row + c, x, static_cast<int>(channels - c));
  }
}

// erf(x / sqrt 2) for GELU, to a unit in the last place of 1: the rational minimax function of Eigen on [-4, 4] of the
// argument of erf; +-1 beyond. NaN stays NaN.
DUALATTN_INLINE Vector erf_of_gelu(Vector x) {
  Vector t = x * 0.70710678118654752f;
  const Vector limit = broadcast(4.f);
  t = maximum(-limit, t);  // in this order NaN passes
  t = limit < t ? limit : t;
  const Vector s = t * t;
  Vector p = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
  p = p * s - 2.10102402082508e-06f;
  p = p * s - 5.69250639462346e-05f;
  p = p * s - 7.34990630326855e-04f;
  p = p * s - 2.95459980854025e-03f;
  p = p * s - 1.60960333262415e-02f;
  Vector q = s * -1.45660718464996e-05f - 2.13374055278905e-04f;
  q = q * s - 1.68282697438203e-03f;
  q = q * s - 7.37332916720468e-03f;
  q = q * s - 1.42647390514189e-02f;
  const Vector value = t * p / q;
  const Vector one = broadcast(1.f);
  return t >= limit ? one : t <= -limit ? -one : value;
}

// out = (x - mean) / sqrt(variance + eps) * weight + bias for each token
inline void normalize(const NormalizeCall& call, const float* x, float* out, int64_t begin, int64_t end) {
  const int64_t channels = call.channels;
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  for (int64_t token = begin; token < end; ++token) {
    const float* row = x + token * channels;
    float* target = out + token * channels;
    Vector sum{};
    for_channels(channels, [&](int64_t c, auto whole) DUALATTN_LAMBDA { sum += load_part(row, c, channels, whole); });
    const Vector mean = sum_lanes(sum, lanes) * (1.f / channels);
    Vector squares{};
    for_channels(channels, [&](int64_t c, auto whole) DUALATTN_LAMBDA {
      Vector difference = load_part(row, c, channels, whole) - mean;
      if constexpr (!whole) {  // lanes behind the last channel hold -mean
        float numbers[kLanes];
        store(numbers, difference);
        for (int64_t lane = channels - c; lane < kLanes; ++lane) numbers[lane] = 0.f;
        difference = load(numbers);
      }
      squares += difference * difference;
    });
    const float variance = sum_lanes(squares, lanes)[0] / channels;
    const Vector scale = broadcast(1.f / __builtin_sqrtf(variance + call.eps));
    for_channels(channels, [&](int64_t c, auto whole) DUALATTN_LAMBDA {
      const Vector normal = (load_part(row, c, channels, whole) - mean) * scale;
      const Vector weight = load_part(call.weight, c, channels, whole), bias = load_part(call.bias, c, channels, whole);
      store_part(target, c, channels, normal * weight + bias, whole);
    });
  }
}

// x = gelu(x + bias) for each token
inline void add_bias_gelu(float* x, const float* bias, int64_t channels, int64_t begin, int64_t end) {
  for (int64_t token = begin; token < end; ++token) {
    float* row = x + token * channels;
    for_channels(channels, [&](int64_t c, auto whole) DUALATTN_LAMBDA {
      const Vector sum = load_part(row, c, channels, whole) + load_part(bias, c, channels, whole);
      store_part(row, c, channels, sum * 0.5f * (erf_of_gelu(sum) + 1.f), whole);
    });
  }
}

// x = x + bias + residual for each token
inline void add_bias_residual(
    float* x, const float* bias, const float* residual, int64_t channels, int64_t begin, int64_t end) {
  for (int64_t token = begin; token < end; ++token) {
    float* row = x + token * channels;
    const float* other = residual + token * channels;
    for_channels(channels, [&](int64_t c, auto whole) DUALATTN_LAMBDA {
      const Vector sum = load_part(row, c, channels, whole) + load_part(bias, c, channels, whole);
      store_part(row, c, channels, sum + load_part(other, c, channels, whole), whole);
    });
  }
}

// kColumns numbers of a row of the result from column `left` on. What lies beyond the sides of the map is zero.
template <int kColumns>
DUALATTN_INLINE void convolve_columns(
    const DepthwiseCall& call, const float* const (&rows)[3], int64_t left, int64_t vertical, float* out) {
  const int64_t channels = call.channels;
  const bool has_left = left > 0, has_right = left + kColumns < call.width;
  for_channels(channels, [&](int64_t c, auto whole) DUALATTN_LAMBDA {
    Vector sums[kColumns];
#pragma GCC unroll 4
    for (int i = 0; i < kColumns; ++i) {
      const bool neighbours[2] = {i > 0 || has_left, i < kColumns - 1 || has_right};
      const int64_t kind = vertical + (neighbours[0] ? 4 : 0) + (neighbours[1] ? 8 : 0);
      sums[i] = load_part(call.biases + kind * channels, c, channels, whole);
    }
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; ++dy) {
      if (rows[dy] == nullptr) continue;
      const float* source = rows[dy] + left * channels;
      Vector inputs[kColumns + 2];
      inputs[0] = has_left ? load_part(source - channels, c, channels, whole) : Vector{};
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; ++i) inputs[i + 1] = load_part(source + i * channels, c, channels, whole);
      inputs[kColumns + 1] = has_right ? load_part(source + kColumns * channels, c, channels, whole) : Vector{};
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx) {
        const Vector weight = load_part(call.weights + (3 * dy + dx) * channels, c, channels, whole);
#pragma GCC unroll 4
        for (int i = 0; i < kColumns; ++i) sums[i] += inputs[i + dx] * weight;
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kColumns; ++i) store_part(out + (left + i) * channels, c, channels, sums[i], whole);
  });
}

// rows [begin, end) of a stack of maps
inline void convolve_depthwise(const DepthwiseCall& call, int64_t begin, int64_t end) {
  const int64_t step = call.width * call.channels;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t y = row % call.height;
    const bool has_above = y > 0, has_below = y + 1 < call.height;
    const float* middle = call.x + (row - call.first_row) * step;
    const float* const rows[3] = {has_above ? middle - step : nullptr, middle, has_below ? middle + step : nullptr};
    const int64_t vertical = (has_above ? 1 : 0) + (has_below ? 2 : 0);
    float* out = call.out + row * step;
    int64_t x = 0;
    for (; x + 4 <= call.width; x += 4) convolve_columns<4>(call, rows, x, vertical, out);
    for (; x < call.width; ++x) convolve_columns<1>(call, rows, x, vertical, out);
  }
}
