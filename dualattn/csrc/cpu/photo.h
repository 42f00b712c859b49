// Lightness of photographs, and its join with colours: the part of colorization whose cost grows with the photograph.
// Which colour space it is stands in the numbers that the caller hands over; `PhotoSpace` in kernels.h names them.
//
// Mapping: a work item of `join` is a row of the photograph, of `lightness` a pixel; lanes are neighbouring pixels.
// Joining reads 4 + 32 bytes (the rows of colours come from the cache), writes 3 or 6 and takes some 150 flops a pixel,
// 30 more for each halving of a vector in which a colour does not fit.

// ln x of normal numbers above 0, to two units in the last place: x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m by the
// polynomial of Cephes.
DUALATTN_INLINE Vector log_positive(Vector x) {
  const Integers bits = reinterpret_cast<Integers>(x);
  const Integers exponent = (bits - 0x3f3504f3) >> 23;
  const Vector m = reinterpret_cast<Vector>(bits - (exponent << 23)) - 1.f;
  const Vector e = __builtin_convertvector(exponent, Vector);
  Vector p = broadcast(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const Vector square = m * m;
  return (m + (p * m * square - e * 2.12194440e-4f - square * 0.5f)) + e * 0.693359375f;
}

// NaN becomes `low`.
DUALATTN_INLINE Vector clamp(Vector x, float low, float high) {
  x = x > low ? x : broadcast(low);
  return x < high ? x : broadcast(high);
}

// For x up to 1.
DUALATTN_INLINE Vector apply(const PhotoCurve& curve, Vector x) {
  const Vector above = maximum(x, broadcast(curve.threshold));
  const Vector power = exp_nonpositive(log_positive(above) * curve.exponent) * curve.scale + curve.offset;
  return x > curve.threshold ? power : x * curve.slope + curve.intercept;
}

DUALATTN_INLINE bool any(Integers mask) {
  int32_t some = 0;
  for (int i = 0; i < kLanes; ++i) some |= mask[i];
  return some != 0;
}

struct LinearRgb {
  Vector channels[3];

  DUALATTN_INLINE Integers exceeds(float low, float high) const {
    Integers outside{};
    for (const Vector& x : channels) outside |= (x < low) | (x > high);
    return outside;
  }
};

DUALATTN_INLINE LinearRgb to_linear(const PhotoSpace& space, Vector l, Vector a, Vector b) {
  const Vector y = l * space.cone_scale + space.cone_offset;
  const Vector cones[3] = {y + a * space.cone_a, y, y + b * space.cone_b};
  Vector xyz[3];
  for (int i = 0; i < 3; ++i) {  // a cube that goes on as its tangent
    const Vector above = maximum(cones[i], broadcast(space.tangent_from));
    xyz[i] = above * above * above + (cones[i] - above) * space.tangent_slope;
  }
  LinearRgb rgb;
  for (int i = 0; i < 3; ++i) {
    const float* row = space.matrix + 3 * i;
    rgb.channels[i] = xyz[0] * row[0] + xyz[1] * row[1] + xyz[2] * row[2];
  }
  return rgb;
}

template <class Pixel>
void join(const JoinCall& call, Pixel* out, int64_t begin, int64_t end) {
  const PhotoSpace& space = *call.space;
  const int64_t width = call.width;
  for (int64_t row = begin; row < end; ++row) {
    const float *weights = call.weights + kTaps * row, *l_row = call.l + row * width;
    const float *a_rows = call.ab + call.first[row] * width, *b_rows = a_rows + call.ab_height * width;
    Pixel* pixels = out + 3 * row * width;
    for (int64_t x = 0; x < width; x += kLanes) {
      const int count = static_cast<int>(std::min<int64_t>(kLanes, width - x));
      const Vector l = load_up_to(l_row + x, count);
      Vector a{}, b{};
      for (int tap = 0; tap < kTaps; ++tap) {
        a += load_up_to(a_rows + tap * width + x, count) * weights[tap];
        b += load_up_to(b_rows + tap * width + x, count) * weights[tap];
      }
      LinearRgb rgb = to_linear(space, l, a, b);
      const Integers outside = rgb.exceeds(space.lowest, space.highest);
      if (any(outside)) {
        Vector factor{};
        float half = 0.5f;
        for (int64_t step = 0; step < call.halvings; ++step, half *= 0.5f) {
          const Vector larger = factor + half;
          factor = to_linear(space, l, a * larger, b * larger).exceeds(0.f, 1.f) ? factor : larger;
        }
        factor = outside ? factor : broadcast(1.f);
        rgb = to_linear(space, l, a * factor, b * factor);
      }
      int32_t levels[3][kLanes];
      for (int channel = 0; channel < 3; ++channel) {
        const Vector encoded = clamp(apply(space.encode, clamp(rgb.channels[channel], 0.f, 1.f)), 0.f, 1.f);
        // adding and subtracting 1.5 * 2^23 rounds to a whole number, ties to even
        const Vector rounded = (encoded * call.levels + 12582912.f) - 12582912.f;
        const Integers whole = __builtin_convertvector(rounded, Integers);
        std::memcpy(levels[channel], &whole, sizeof(whole));
      }
      for (int i = 0; i < count; ++i) {
        for (int channel = 0; channel < 3; ++channel) {
          pixels[3 * (x + i) + channel] = static_cast<Pixel>(levels[channel][i]);
        }
      }
    }
  }
}

template <class Pixel>
void lightness(const LightnessCall& call, const Pixel* pixels, float* l, int64_t begin, int64_t end) {
  const int64_t levels = call.levels;
  const float *red = call.tables, *green = red + levels, *blue = green + levels;
  for (int64_t x = begin; x < end; x += kLanes) {
    const int count = static_cast<int>(std::min<int64_t>(kLanes, end - x));
    float luminance[kLanes] = {};
    for (int i = 0; i < count; ++i) {
      const Pixel* pixel = pixels + 3 * (x + i);
      luminance[i] = red[pixel[0]] + green[pixel[1]] + blue[pixel[2]];
    }
    store_up_to(l + x, apply(call.curve, load(luminance)), count);
  }
}
