// Factorized channel attention on a CPU, forward and backward.
// No include guard and no namespace: see vector.h.
//
// A group is a (tokens x m) slice of Q, K and V; its attention matrix is m x m. Pass 1 adds up K^T Q over chunks of
// tokens, pass 2 adds the chunks and applies softmax, pass 3 multiplies V by the result. Matrices are kept with the key
// channel as the row, (m, m rounded up to whole vectors) while they are sums: softmax runs down the columns, and the
// matrix is the right operand of pass 3 as it is.
//
// Forward: reads 3, writes 1 number per token and channel, 4 m flops each. Backward: reads 5, writes 3, 8 m flops.

// tokens copied to the cache at a time
constexpr int kBlock = 64;

// Work item of a chunked pass: a range of tokens of one group.
struct FcaItem {
  int64_t group;              // counted over the batch
  int64_t first_row;          // of the tokens, counted over the batch
  int64_t first_channel;
  int64_t tokens;

  FcaItem(const FcaShape& shape, int64_t item) {
    const int64_t groups = shape.batch * shape.groups, chunk = item / groups;
    group = item % groups;
    first_row = group / shape.groups * shape.tokens + chunk * kFcaChunk;
    first_channel = group % shape.groups * shape.dim;
    tokens = std::min(kFcaChunk, shape.tokens - chunk * kFcaChunk);
  }
};

// block[t][c] = source row t as float32, zeros up to whole vectors; asks for the block that follows in memory
template <class T>
__attribute__((noinline)) void copy_block(
    const T* source, int64_t row_step, int tokens, int dim, float* block, int64_t width) {
  for (int t = 0; t < tokens; ++t) {
    const char* ahead = reinterpret_cast<const char*>(source + (t + kBlock) * row_step);
    __builtin_prefetch(ahead);
    __builtin_prefetch(ahead + dim * sizeof(T) - 1);
    for (int c = 0; c < dim; c += kLanes) {
      store(block + t * width + c, load_up_to(source + t * row_step + c, dim - c));
    }
  }
}

// out = block * matrix; `result` holds the product before it is rounded to T
template <class T>
__attribute__((noinline)) void multiply_block(
    const float* block, int tokens, const float* matrix, int dim, float* result, T* out, int64_t out_step) {
  const int64_t width = round_up_to_lanes(dim);
  if constexpr (std::is_same_v<T, float>) {
    if (width == dim) {  // nothing to round or to cut off
      multiply(Scalars{block, width, 1}, Rows{matrix, width}, tokens, width / kLanes, dim, false, out, out_step);
      return;
    }
  }
  multiply(Scalars{block, width, 1}, Rows{matrix, width}, tokens, width / kLanes, dim, false, result, width);
  for (int t = 0; t < tokens; ++t) {
    for (int c = 0; c < dim; c += kLanes) store_up_to(out + t * out_step + c, load(result + t * width + c), dim - c);
  }
}

// matrix (dim, dim) -> padded (dim, width); transposed on request
inline void pad_matrix(const float* matrix, int dim, bool transposed, float* padded) {
  const int64_t width = round_up_to_lanes(dim);
  for (int r = 0; r < dim; ++r) {
    if (transposed) {
      for (int c = 0; c < dim; ++c) padded[r * width + c] = matrix[c * dim + r];
    } else {
      std::memcpy(padded + r * width, matrix + r * dim, dim * sizeof(float));
    }
  }
}

// the chunks' sums of one group, added in order: (dim, width)
inline void add_chunks(const FcaShape& shape, const float* sums, int64_t group, float* total) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t width = round_up_to_lanes(dim), size = dim * dim, groups = shape.batch * shape.groups;
  std::memset(total, 0, dim * width * sizeof(float));
  for (int64_t chunk = 0; chunk < fca_chunks(shape); ++chunk) {
    const float* part = sums + (chunk * groups + group) * size;
    for (int r = 0; r < dim; ++r) {
      for (int c = 0; c < dim; c += kLanes) {
        float* sum = total + r * width + c;
        store(sum, load(sum) + load_up_to(part + r * dim + c, dim - c));
      }
    }
  }
}

// sums[item] = left^T right over the tokens of the item
template <class T>
void fca_sum_products(
    const FcaShape& shape, const T* left, int64_t left_step, const T* right, int64_t right_step, float* sums,
    int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t width = round_up_to_lanes(dim);
  Scratch scratch((2 * kBlock + dim) * width);
  float* left_block = scratch.take(kBlock * width);
  float* right_block = scratch.take(kBlock * width);
  float* sum = scratch.take(dim * width);
  for (int64_t index = begin; index < end; ++index) {
    const FcaItem item(shape, index);
    const T* left_rows = left + item.first_row * left_step + item.first_channel;
    const T* right_rows = right + item.first_row * right_step + item.first_channel;
    for (int64_t t = 0; t < item.tokens; t += kBlock) {
      const int block = static_cast<int>(std::min<int64_t>(kBlock, item.tokens - t));
      copy_block(left_rows + t * left_step, left_step, block, dim, left_block, width);
      copy_block(right_rows + t * right_step, right_step, block, dim, right_block, width);
      multiply(
          Scalars{left_block, 1, width}, Rows{right_block, width}, dim, width / kLanes, block, t > 0, sum, width);
    }
    for (int r = 0; r < dim; ++r) std::memcpy(sums + (index * dim + r) * dim, sum + r * width, dim * sizeof(float));
  }
}

template <class T>
void fca_sum(const FcaShape& shape, const T* qkv, float* sums, int64_t begin, int64_t end) {
  const int64_t channels = shape.channels();
  fca_sum_products(shape, qkv + channels, 3 * channels, qkv, 3 * channels, sums, begin, end);
}

template <class T>
void fca_grad_sum(const FcaShape& shape, const T* grad, const T* qkv, float* sums, int64_t begin, int64_t end) {
  const int64_t channels = shape.channels();
  fca_sum_products(shape, qkv + 2 * channels, 3 * channels, grad, channels, sums, begin, end);
}

void fca_softmax(const FcaShape& shape, const float* sums, float* attention, int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t width = round_up_to_lanes(dim);
  Scratch scratch((dim + 1) * width);
  float* logits = scratch.take(dim * width);
  float* inverse_sums = scratch.take(width);
  for (int64_t group = begin; group < end; ++group) {
    add_chunks(shape, sums, group, logits);
    exponentiate(logits, dim, width, shape.scale, inverse_sums);
    float* result = attention + group * dim * dim;
    for (int key = 0; key < dim; ++key) {
      for (int query = 0; query < dim; query += kLanes) {
        const Vector weights = load(logits + key * width + query) * load(inverse_sums + query);
        store_up_to(result + key * dim + query, weights, dim - query);
      }
    }
  }
}

void fca_grad_softmax(
    const FcaShape& shape, const float* sums, const float* attention, float* grad_logits, int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t width = round_up_to_lanes(dim);
  Scratch scratch((dim + 1) * width);
  float* grads = scratch.take(dim * width);
  float* means = scratch.take(width);
  for (int64_t group = begin; group < end; ++group) {
    add_chunks(shape, sums, group, grads);
    const float* weights = attention + group * dim * dim;
    float* result = grad_logits + group * dim * dim;
    std::memset(means, 0, width * sizeof(float));
    for (int key = 0; key < dim; ++key) {
      for (int query = 0; query < dim; ++query) {
        means[query] += weights[key * dim + query] * grads[key * width + query];
      }
    }
    for (int key = 0; key < dim; ++key) {
      for (int query = 0; query < dim; ++query) {
        const float centered = grads[key * width + query] - means[query];
        result[key * dim + query] = shape.scale * weights[key * dim + query] * centered;
      }
    }
  }
}

template <class T>
void fca_apply(const FcaShape& shape, const T* qkv, const float* attention, T* out, int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t width = round_up_to_lanes(dim), channels = shape.channels(), row_step = 3 * channels;
  Scratch scratch((dim + 2 * kBlock) * width);
  float* matrix = scratch.take(dim * width);
  float* product = scratch.take(kBlock * width);
  float* values = scratch.take(kBlock * width);
  for (int64_t index = begin; index < end; ++index) {
    const FcaItem item(shape, index);
    pad_matrix(attention + item.group * dim * dim, dim, false, matrix);
    const T* v = qkv + item.first_row * row_step + 2 * channels + item.first_channel;
    T* result = out + item.first_row * channels + item.first_channel;
    for (int64_t t = 0; t < item.tokens; t += kBlock) {
      const int block = static_cast<int>(std::min<int64_t>(kBlock, item.tokens - t));
      copy_block(v + t * row_step, row_step, block, dim, values, width);
      multiply_block(values, block, matrix, dim, product, result + t * channels, channels);
    }
  }
}

// With A the attention and S its logits, keys first: dV = dO A^T, dQ = K dS, dK = Q dS^T.
template <class T>
void fca_grad_apply(
    const FcaShape& shape, const T* grad, const T* qkv, const float* attention, const float* grad_logits, T* grad_qkv,
    int64_t begin, int64_t end) {
  const int dim = static_cast<int>(shape.dim);
  const int64_t width = round_up_to_lanes(dim), channels = shape.channels(), row_step = 3 * channels;
  Scratch scratch((3 * dim + 2 * kBlock) * width);
  float* attention_t = scratch.take(dim * width);
  float* logits = scratch.take(dim * width);
  float* logits_t = scratch.take(dim * width);
  float* rows = scratch.take(kBlock * width);
  float* product = scratch.take(kBlock * width);
  for (int64_t index = begin; index < end; ++index) {
    const FcaItem item(shape, index);
    const int64_t matrix = item.group * dim * dim;
    pad_matrix(attention + matrix, dim, true, attention_t);
    pad_matrix(grad_logits + matrix, dim, false, logits);
    pad_matrix(grad_logits + matrix, dim, true, logits_t);
    for (int64_t t = 0; t < item.tokens; t += kBlock) {
      const int block = static_cast<int>(std::min<int64_t>(kBlock, item.tokens - t));
      const int64_t offset = (item.first_row + t) * row_step + item.first_channel;
      const T* q = qkv + offset;
      T* result = grad_qkv + offset;
      copy_block(q + channels, row_step, block, dim, rows, width);
      multiply_block(rows, block, logits, dim, product, result, row_step);
      copy_block(q, row_step, block, dim, rows, width);
      multiply_block(rows, block, logits_t, dim, product, result + channels, row_step);
      copy_block(grad + (item.first_row + t) * channels + item.first_channel, channels, block, dim, rows, width);
      multiply_block(rows, block, attention_t, dim, product, result + 2 * channels, row_step);
    }
  }
}
