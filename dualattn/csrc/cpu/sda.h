// Separable dilated attention on a CPU, forward and backward.
// No include guard and no namespace: see vector.h.
//
// One work item is one head of one window, n <= grid_h * grid_w tokens of d channels. Its rows are gathered from the
// map into a scratch of float32 that stays in the second-level cache, and everything between gather and scatter works
// there. Logits are kept with one key per row and the queries on the lanes: softmax then runs down the columns, without
// a sum across the lanes of a vector, and Q has to be transposed once, in registers.
//
// Forward: reads 3 n d, writes n d numbers, 4 n^2 d flops. Backward: reads 4 n d, writes 3 n d, 10 n^2 d flops.

// The tokens of one window that lie on the map, as numbers of a token counted over the whole batch.
struct Window {
  std::vector<int64_t> tokens;

  void locate(const SdaShape& shape, int64_t index) {
    const int64_t j = index % shape.stride_w, i = index / shape.stride_w % shape.stride_h;
    const int64_t image = index / (shape.stride_w * shape.stride_h);
    tokens.clear();
    for (int64_t y = i; y < shape.height; y += shape.stride_h) {
      for (int64_t x = j; x < shape.width; x += shape.stride_w) {
        tokens.push_back((image * shape.height + y) * shape.width + x);
      }
    }
  }

  int size() const { return static_cast<int>(tokens.size()); }
};

// Memory of one thread; rows are padded to whole vectors and begin on a cache line.
class Scratch {
 public:
  explicit Scratch(int64_t floats) : storage_(floats + kLine, 0.f) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    next_ = storage_.data() + (kLine - address / sizeof(float) % kLine) % kLine;
  }

  float* take(int64_t floats) {
    float* taken = next_;
    next_ += floats;
    return taken;
  }

 private:
  static constexpr int64_t kLine = 16;  // floats in 64 bytes
  std::vector<float> storage_;
  float* next_;
};

constexpr int64_t round_up_to_lanes(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// rows[t] = the row of token t as float32, zeros up to whole vectors
template <class T>
__attribute__((noinline)) void gather(
    const T* source, int64_t row_step, const Window& window, int dim, float* rows, int64_t width) {
  for (const int64_t token : window.tokens) {
    const T* row = source + token * row_step;
    for (int c = 0; c < dim; c += kLanes) store(rows + c, load_up_to(row + c, dim - c));
    rows += width;
  }
}

// row of token t = rows[t] * factors[t]; the factors may be left out
template <class T>
__attribute__((noinline)) void scatter(
    const float* rows, int64_t width, const float* factors, const Window& window, int dim, T* target,
    int64_t row_step) {
  for (int t = 0; t < window.size(); ++t) {
    T* row = target + window.tokens[t] * row_step;
    const float factor = factors == nullptr ? 1.f : factors[t];
    for (int c = 0; c < dim; c += kLanes) store_up_to(row + c, load(rows + t * width + c) * factor, dim - c);
  }
}

// columns[c][t] = rows[t][c]. Reads up to kLanes - 1 rows beyond the last, whose lanes nobody looks at.
__attribute__((noinline)) void transpose_rows(
    const float* rows, int64_t width, int64_t lanes, float* columns) {
  for (int64_t t = 0; t < lanes; t += kLanes) {
    for (int64_t c = 0; c < width; c += kLanes) {
      Vector square[kLanes];
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) square[j] = load(rows + (t + j) * width + c);
      transpose(square);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) store(columns + (c + j) * lanes + t, square[j]);
    }
  }
}

// Asks for the rows of the next work item while this one is computed.
template <class T>
void prefetch(const T* source, int64_t row_step, const Window& window, int dim) {
  for (const int64_t token : window.tokens) {
    const char* row = reinterpret_cast<const char*>(source + token * row_step);
    __builtin_prefetch(row);
    __builtin_prefetch(row + dim * sizeof(T) - 1);
  }
}

// columns = e^(scale * columns - their maximum); inverse_sums = 1 / their sums
__attribute__((noinline)) void exponentiate(
    float* columns, int rows, int64_t width, float scale, float* inverse_sums) {
  for (int64_t lane = 0; lane < width; lane += kLanes) {
    float* column = columns + lane;
    Vector highest = load(column) * scale;
    for (int r = 1; r < rows; ++r) highest = maximum(load(column + r * width) * scale, highest);
    Vector even{}, odd{};
    int r = 0;
    for (; r + 2 <= rows; r += 2) {  // two chains of additions hide their latency
      const Vector a = exp_nonpositive(load(column + r * width) * scale - highest);
      const Vector b = exp_nonpositive(load(column + (r + 1) * width) * scale - highest);
      store(column + r * width, a);
      store(column + (r + 1) * width, b);
      even += a;
      odd += b;
    }
    if (r < rows) {
      const Vector a = exp_nonpositive(load(column + r * width) * scale - highest);
      store(column + r * width, a);
      even += a;
    }
    store(inverse_sums + lane, 1.f / (even + odd));
  }
}

template <class T>
void sda_forward(const SdaShape& shape, const T* qkv, T* out, int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t channels = shape.channels(), row_step = 3 * channels;
  const int64_t most = round_up_to_lanes(shape.grid_h * shape.grid_w), width = round_up_to_lanes(dim);
  Scratch scratch(most * (4 * width + most + 1));
  float* rows = scratch.take(most * width);       // (query, channel), Q and later the result
  float* queries_t = scratch.take(width * most);  // (channel, query)
  float* keys = scratch.take(most * width);       // (key, channel)
  float* values = scratch.take(most * width);     // (key, channel)
  float* weights = scratch.take(most * most);     // (key, query)
  float* inverse_sums = scratch.take(most);       // (query)

  Window window, next_window;
  next_window.locate(shape, begin / shape.heads);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t head = item % shape.heads;
    if (item == begin || head == 0) std::swap(window, next_window);
    const int n = window.size();
    const int64_t lanes = round_up_to_lanes(n);
    const T* q = qkv + head * dim;
    gather(q, row_step, window, dim, rows, width);
    gather(q + channels, row_step, window, dim, keys, width);
    gather(q + 2 * channels, row_step, window, dim, values, width);
    transpose_rows(rows, width, lanes, queries_t);

    const bool last_head = head + 1 == shape.heads, has_next = item + 1 < end;
    if (last_head && has_next) next_window.locate(shape, (item + 1) / shape.heads);
    const Window& next = last_head ? next_window : window;
    const T* next_q = last_head ? qkv : q + dim;
    const auto prefetch_part = [&](int part) {
      if (has_next) prefetch(next_q + part * channels, row_step, next, dim);
    };

    prefetch_part(0);
    multiply(Scalars{keys, width, 1}, Rows{queries_t, lanes}, n, lanes / kLanes, dim, false, weights, lanes);
    prefetch_part(1);
    exponentiate(weights, n, lanes, shape.scale, inverse_sums);
    prefetch_part(2);
    multiply(Scalars{weights, 1, lanes}, Rows{values, width}, n, width / kLanes, n, false, rows, width);
    scatter(rows, width, inverse_sums, window, dim, out + head * dim, channels);
  }
}

// With P the weights and S the logits: dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(P dP)), dQ = scale dS K,
// dK = scale dS^T Q. P is computed again rather than kept from the forward pass.
template <class T>
void sda_backward(const SdaShape& shape, const T* grad, const T* qkv, T* grad_qkv, int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t channels = shape.channels(), row_step = 3 * channels;
  const int64_t most = round_up_to_lanes(shape.grid_h * shape.grid_w), width = round_up_to_lanes(dim);
  Scratch scratch(most * (7 * width + 2 * most + 1));
  float* queries = scratch.take(most * width);     // (query, channel)
  float* keys = scratch.take(most * width);        // (key, channel)
  float* values = scratch.take(most * width);      // (key, channel)
  float* grads = scratch.take(most * width);       // (query, channel)
  float* queries_t = scratch.take(width * most);   // (channel, query)
  float* grads_t = scratch.take(width * most);     // (channel, query)
  float* result = scratch.take(most * width);      // (token, channel)
  float* weights = scratch.take(most * most);      // (key, query)
  float* grad_logits = scratch.take(most * most);  // (key, query)
  float* inverse_sums = scratch.take(most);        // (query)

  Window window;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t head = item % shape.heads;
    if (item == begin || head == 0) window.locate(shape, item / shape.heads);
    const int n = window.size();
    const int64_t lanes = round_up_to_lanes(n), lane_vectors = lanes / kLanes, vectors = width / kLanes;
    const T* q = qkv + head * dim;
    gather(q, row_step, window, dim, queries, width);
    gather(q + channels, row_step, window, dim, keys, width);
    gather(q + 2 * channels, row_step, window, dim, values, width);
    gather(grad + head * dim, channels, window, dim, grads, width);
    transpose_rows(queries, width, lanes, queries_t);
    transpose_rows(grads, width, lanes, grads_t);

    multiply(Scalars{keys, width, 1}, Rows{queries_t, lanes}, n, lane_vectors, dim, false, weights, lanes);
    exponentiate(weights, n, lanes, shape.scale, inverse_sums);
    multiply(Scalars{values, width, 1}, Rows{grads_t, lanes}, n, lane_vectors, dim, false, grad_logits, lanes);
    for (int64_t lane = 0; lane < lanes; lane += kLanes) {
      const Vector inverse_sum = load(inverse_sums + lane);
      Vector mean{};  // of grad_logits under the weights
      for (int key = 0; key < n; ++key) {
        float* weight = weights + key * lanes + lane;
        const Vector normalized = load(weight) * inverse_sum;
        store(weight, normalized);
        mean += normalized * load(grad_logits + key * lanes + lane);
      }
      for (int key = 0; key < n; ++key) {
        float* logit = grad_logits + key * lanes + lane;
        store(logit, load(weights + key * lanes + lane) * (load(logit) - mean) * shape.scale);
      }
    }

    T* grad_q = grad_qkv + head * dim;
    multiply(Scalars{grad_logits, 1, lanes}, Rows{keys, width}, n, vectors, n, false, result, width);
    scatter(result, width, nullptr, window, dim, grad_q, row_step);
    multiply(Scalars{grad_logits, lanes, 1}, Rows{queries, width}, n, vectors, n, false, result, width);
    scatter(result, width, nullptr, window, dim, grad_q + channels, row_step);
    multiply(Scalars{weights, lanes, 1}, Rows{grads, width}, n, vectors, n, false, result, width);
    scatter(result, width, nullptr, window, dim, grad_q + 2 * channels, row_step);
  }
}
