// A vector of kLanes floats and the few functions on it that the kernels need.
// No include guard and no namespace: included once for each instruction set, inside the namespace of that set.

constexpr int kLanes = DUALATTN_LANES;

#define DUALATTN_INLINE inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedVector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));
typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HalfBits __attribute__((vector_size(kLanes * 2)));
typedef uint16_t UnalignedHalfBits __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

DUALATTN_INLINE Vector broadcast(float x) { return x - Vector{}; }

DUALATTN_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }

DUALATTN_INLINE Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }

DUALATTN_INLINE void store(float* p, Vector x) { *reinterpret_cast<UnalignedVector*>(p) = x; }

// bfloat16 is the upper half of a float
DUALATTN_INLINE Vector load(const BFloat16* p) {
  const HalfBits half = *reinterpret_cast<const UnalignedHalfBits*>(p);
  return reinterpret_cast<Vector>(__builtin_convertvector(half, Bits) << 16);
}

// rounds to nearest, ties to even; NaN stays NaN
DUALATTN_INLINE void store(BFloat16* p, Vector x) {
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits nan = Bits{} + 0x7fc0;
  *reinterpret_cast<UnalignedHalfBits*>(p) = __builtin_convertvector(x == x ? rounded : nan, HalfBits);
}

// the first `count` < kLanes numbers, zeros behind them
template <class T>
DUALATTN_INLINE Vector load_some(const T* p, int count) {
  T numbers[kLanes] = {};
  if (count == kLanes / 2) {  // a constant size becomes one instruction; heads of 8 and 24 channels end like this
    std::memcpy(numbers, p, kLanes / 2 * sizeof(T));
  } else {
    for (int i = 0; i < count; ++i) numbers[i] = p[i];
  }
  return load(numbers);
}

template <class T>
DUALATTN_INLINE void store_some(T* p, Vector x, int count) {
  T numbers[kLanes];
  store(numbers, x);
  if (count == kLanes / 2) {
    std::memcpy(p, numbers, kLanes / 2 * sizeof(T));
  } else {
    for (int i = 0; i < count; ++i) p[i] = numbers[i];
  }
}

// `count` numbers, at most kLanes
template <class T>
DUALATTN_INLINE Vector load_up_to(const T* p, int count) {
  return count >= kLanes ? load(p) : load_some(p, count);
}

template <class T>
DUALATTN_INLINE void store_up_to(T* p, Vector x, int count) {
  if (count >= kLanes) {
    store(p, x);
  } else {
    store_some(p, x, count);
  }
}

// e^x for x <= 0, to two units in the last place; 0 below -87, where float has no normal numbers left.
// x = n ln 2 + r with n whole and |r| <= ln 2 / 2; e^r by the polynomial of Cephes; 2^n through the exponent bits.
// Adding and subtracting 1.5 * 2^23 rounds to a whole number, as long as the compiler keeps the order of operations:
// this file must not be compiled with -ffast-math.
DUALATTN_INLINE Vector exp_nonpositive(Vector x) {
  const Vector lowest = broadcast(-87.f);
  const Vector clamped = maximum(lowest, x);  // in this order NaN passes
  const Vector magic = broadcast(12582912.f);
  const Vector n = (clamped * 1.44269504088896341f + magic) - magic;
  Vector r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vector p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.f;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  return x < lowest ? Vector{} : p * reinterpret_cast<Vector>(exponent);
}

// Lane j of the result is lane from(j) of a and b laid one after the other, where kHigh tells which half of every
// 2 kStep x 2 kStep square is made. The two compilers spell a constant shuffle differently.
template <int kStep, bool kHigh>
constexpr int shuffle_source(int j) {
  if constexpr (kHigh) return (j & kStep) ? j + kLanes : j + kStep;
  return (j & kStep) ? j - kStep + kLanes : j;
}

template <int kStep, bool kHigh, int... j>
DUALATTN_INLINE Vector shuffle(Vector a, Vector b, std::integer_sequence<int, j...>) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, shuffle_source<kStep, kHigh>(j)...);
#else
  return __builtin_shuffle(a, b, Integers{shuffle_source<kStep, kHigh>(j)...});
#endif
}

// One step of a transpose: swaps the off-diagonal kStep x kStep squares of every 2 kStep x 2 kStep square.
template <int kStep>
DUALATTN_INLINE void swap_squares(Vector (&rows)[kLanes]) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & kStep) continue;
    const Vector a = rows[i], b = rows[i + kStep];
    rows[i] = shuffle<kStep, false>(a, b, lanes);
    rows[i + kStep] = shuffle<kStep, true>(a, b, lanes);
  }
}

DUALATTN_INLINE void transpose(Vector (&rows)[kLanes]) {
  swap_squares<1>(rows);
  swap_squares<2>(rows);
  if constexpr (kLanes > 4) swap_squares<4>(rows);
  if constexpr (kLanes > 8) swap_squares<8>(rows);
}
