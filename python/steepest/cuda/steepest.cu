// The sums of an objective in one pass over X: scores → loss and slope → gradient, for NVRTC, nvcc and a CPU compiler.
//
// Rows go in chunks of 512, whatever the grid: a block sums a chunk in the type of computation and writes one row of
// `partials`, which `fold` adds in float64, in the order of the rows. No atomics: the same bits on every GPU and grid.
// Needs no headers. Appended to it are the kernels that are wanted: ROW_PASS(…), ANY_PASS(…), FOLD(…), CSR_PRODUCT(…).
// Kernels of a descent do nothing once it has `halted`; elsewhere that is null.

#ifdef STEEPEST_ON_CPU
#include "cuda_shim.hpp"
#else
#define SHARED_MEMORY(type, name)                                                                                      \
    extern __shared__ __align__(16) unsigned char shared_memory[];                                                     \
    type* name = reinterpret_cast<type*>(shared_memory)
#define EXPORT(name)
#endif

typedef long long int64;

enum { WARP = 32, CHUNK_ROWS = 512, ROW_WARPS = 4, ANY_WARPS = 8, BATCH_ROWS = 32, AT_ONCE = BATCH_ROWS / ANY_WARPS };
enum { FOLD_PARTS = 256, FOLD_ROWS = 8, BLOCK_WARPS = 16 };
// Blocks that fit a multiprocessor at a time: what bounds their registers.
enum { ROW_BLOCKS = 3, OTHER_BLOCKS = 2 };
#define EVERY_LANE 0xffffffffu

// ---- how numbers are stored, and the type they are computed in

struct bfloat16 { unsigned short bits; };
struct float16 { unsigned short bits; };

template <class S> struct Stored { typedef S Number; };
template <> struct Stored<bfloat16> { typedef float Number; };
template <> struct Stored<float16> { typedef float Number; };

__device__ __forceinline__ float number(float stored) { return stored; }
__device__ __forceinline__ double number(double stored) { return stored; }
__device__ __forceinline__ float number(bfloat16 stored) { return __uint_as_float((unsigned)stored.bits << 16); }
#ifdef STEEPEST_ON_CPU
inline float number(float16 stored) { return shim::from_half(stored.bits); }
#else
__device__ __forceinline__ float number(float16 stored) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(stored.bits));
    return result;
}
#endif

// Sixteen bytes, the most that a thread loads at once.
template <class S> union Vector {
    uint4 words;
    S entries[16 / sizeof(S)];
    __device__ Vector() {}
};

// ---- the losses: value and slope at a score, as in losses.py; `parameter` is δ of huber, the highest exponent of poisson

struct OneScore { enum { SCORES = 1 }; };
struct Mse : OneScore {
    template <class A> static __device__ __forceinline__ void at(A z, A y, A, A& value, A& slope) {
        const A residual = z - y;
        value = residual * residual;
        slope = 2 * residual;
    }
};
struct LogLoss : OneScore {
    template <class A> static __device__ __forceinline__ void at(A z, A y, A, A& value, A& slope) {
        const A e = exp(z > 0 ? -z : z), miss = 1 - y;
        value = (z > 0 ? z : A(0)) - y * z + log1p(e);
        slope = (z > 0 ? miss - y * e : miss * e - y) / (1 + e);
    }
};
struct Huber : OneScore {
    template <class A> static __device__ __forceinline__ void at(A z, A y, A delta, A& value, A& slope) {
        const A residual = z - y;
        slope = residual > delta ? delta : residual < -delta ? -delta : residual;
        value = slope * (residual - A(0.5) * slope);
    }
};
struct Poisson : OneScore {
    template <class A> static __device__ __forceinline__ void at(A z, A y, A highest, A& value, A& slope) {
        const A cut = z > highest ? highest : z, e = exp(cut);
        value = e + e * (z - cut) - y * z;
        slope = e - y;
    }
};
struct SquaredHinge : OneScore {
    template <class A> static __device__ __forceinline__ void at(A z, A y, A, A& value, A& slope) {
        const A margin = 1 - y * z, miss = margin < 0 ? A(0) : margin;
        value = miss * miss;
        slope = -2 * y * miss;
    }
};

// Value and slopes at the scores of all classes; y is the number of one of them.
template <int CLASSES> struct Softmax {
    enum { SCORES = CLASSES };
    template <class A>
    static __device__ __forceinline__ void at(const A (&z)[CLASSES], A y, A& value, A (&slopes)[CLASSES]) {
        A highest = z[0], total = 0, own = 0;
#pragma unroll
        for (int k = 1; k < CLASSES; k++) highest = z[k] > highest ? z[k] : highest;
#pragma unroll
        for (int k = 0; k < CLASSES; k++) {
            if (y == k) own = z[k] - highest;
            slopes[k] = exp(z[k] - highest);
            total += slopes[k];
        }
        value = log(total) - own;
#pragma unroll
        for (int k = 0; k < CLASSES; k++) slopes[k] = slopes[k] / total - (y == k ? A(1) : A(0));
    }
};

// Chosen, not multiplied: what weighs nothing may be beyond the range of numbers.
template <class A> __device__ __forceinline__ A weighed(A value, A weight) { return weight > 0 ? value * weight : A(0); }

// What every pass reads beside X. Null weights are ones, null offsets zeros; null scores are not wanted.
template <class A> struct Rows {
    const A* targets;
    const A* weights;
    const A* offset;
    A parameter;
    A* scores;

    __device__ __forceinline__ A weight(int64 row) const { return weights ? weights[row] : A(1); }

    // Write the scores of a row, which have no offset yet, and return its weighted value and slopes.
    template <class Loss, int K>
    __device__ __forceinline__ void look(int64 row, A (&z)[K], A& value, A (&slopes)[K]) const {
#pragma unroll
        for (int k = 0; k < K; k++) {
            if (scores) scores[row * K + k] = z[k];
            if (offset) z[k] += offset[row * K + k];
        }
        if constexpr (K == 1) Loss::template at<A>(z[0], targets[row], parameter, value, slopes[0]);
        else Loss::template at<A>(z, targets[row], value, slopes);
        value = weighed(value, weight(row));
#pragma unroll
        for (int k = 0; k < K; k++) slopes[k] = weighed(slopes[k], weight(row));
    }
    template <class Loss> __device__ __forceinline__ void look(int64 row, A score, A& value, A& slope) const {
        A z[1] = {score}, slopes[1];
        look<Loss>(row, z, value, slopes);
        slope = slopes[0];
    }
};

template <class A> __device__ __forceinline__ A warp_sum(A value, int from) {
    for (int mask = from; mask < WARP; mask <<= 1) value += __shfl_xor_sync(EVERY_LANE, value, mask);
    return value;
}

// Add up, in their order, what the warps of a block have of each column.
template <class A> __device__ __forceinline__ void add_warps(const A* sums, int width, A* total) {
    __syncthreads();
    for (int column = threadIdx.x; column < width; column += ROW_WARPS * WARP) {
        A sum = sums[column];
        for (int other = 1; other < ROW_WARPS; other++) sum += sums[other * width + column];
        total[column] = sum;
    }
    __syncthreads();
}

// ---- rows of whole, aligned vectors: LANES lanes share a row and hold VECTORS vectors of it each, ROWS rows at a time

// Leave with each lane the score of row `lane % ROWS`: half of the rows change hands with every halving of the mask, so
// that a loss is evaluated once a row, not once a lane.
template <int LANES, int ROWS, class A> __device__ __forceinline__ A transposed_sum(A (&scores)[ROWS], int lane) {
#pragma unroll
    for (int mask = ROWS / 2; mask; mask >>= 1) {
        const bool upper = lane & mask;
#pragma unroll
        for (int k = 0; k < ROWS / 2; k++)
            if (k < mask) {
                const A low = scores[k], high = scores[k + mask];
                scores[k] = (upper ? high : low) + __shfl_xor_sync(EVERY_LANE, upper ? low : high, mask);
            }
    }
#pragma unroll
    for (int mask = ROWS; mask < LANES; mask <<= 1) scores[0] += __shfl_xor_sync(EVERY_LANE, scores[0], mask);
    return scores[0];
}

template <class Loss, class S, int LANES, int VECTORS, int ROWS, class A>
__device__ __forceinline__ void row_pass(
    const S* __restrict__ x, const Rows<A> rows, const A* __restrict__ parameters, int64 n, int d, A* __restrict__ partials
) {
    enum { ENTRIES = 16 / sizeof(S), GROUPS = WARP / LANES, OWN = VECTORS * ENTRIES };
    SHARED_MEMORY(A, sums);
    const int in_warp = threadIdx.x % WARP, warp = threadIdx.x / WARP, lane = in_warp % LANES, group = in_warp / LANES;
    const int width = d + 2;
    const A intercept = parameters[d];
    A coef[OWN], gradient[OWN];
#pragma unroll
    for (int k = 0; k < OWN; k++) {
        const int column = (k / ENTRIES * LANES + lane) * ENTRIES + k % ENTRIES;
        coef[k] = column < d ? parameters[column] : A(0);
    }
    for (int64 chunk = blockIdx.x; chunk * CHUNK_ROWS < n; chunk += gridDim.x) {
        const int64 end = (chunk + 1) * CHUNK_ROWS < n ? (chunk + 1) * CHUNK_ROWS : n;
        A total = 0, slopes = 0;
#pragma unroll
        for (int k = 0; k < OWN; k++) gradient[k] = 0;
        for (int64 first = chunk * CHUNK_ROWS + warp * ROWS * GROUPS; first < end; first += ROW_WARPS * ROWS * GROUPS) {
            A entries[ROWS][OWN], scores[ROWS];
#pragma unroll
            for (int u = 0; u < ROWS; u++) {
                const int64 row = first + u * GROUPS + group;
                scores[u] = 0;
#pragma unroll
                for (int v = 0; v < VECTORS; v++) {
                    const int column = (v * LANES + lane) * ENTRIES;
                    Vector<S> vector;
                    vector.words = make_uint4(0, 0, 0, 0);
                    if (row < end && column < d) vector.words = __ldcs((const uint4*)(x + row * d + column));
#pragma unroll
                    for (int e = 0; e < ENTRIES; e++) entries[u][v * ENTRIES + e] = number(vector.entries[e]);
                }
#pragma unroll
                for (int k = 0; k < OWN; k++) scores[u] += entries[u][k] * coef[k];
            }
            const A score = transposed_sum<LANES, ROWS>(scores, lane) + intercept;
            const int64 own = first + (lane % ROWS) * GROUPS + group;
            A value = 0, slope = 0;
            if (own < end) rows.template look<Loss>(own, score, value, slope);
            if (lane < ROWS) {
                total += value;
                slopes += slope;
            }
#pragma unroll
            for (int u = 0; u < ROWS; u++) {
                const A of_row = __shfl_sync(EVERY_LANE, slope, in_warp - lane + u);
#pragma unroll
                for (int k = 0; k < OWN; k++) gradient[k] += of_row * entries[u][k];
            }
        }
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            const int column = (k / ENTRIES * LANES + lane) * ENTRIES + k % ENTRIES;
            const A sum = warp_sum(gradient[k], LANES);
            if (group == 0 && column < d) sums[warp * width + column] = sum;
        }
        total = warp_sum(total, 1);
        slopes = warp_sum(slopes, 1);
        if (in_warp == 0) {
            sums[warp * width + d] = slopes;
            sums[warp * width + d + 1] = total;
        }
        add_warps(sums, width, partials + chunk * width);
    }
}

// ---- any rows: any number of columns, any alignment, any strides, several scores

// Of a batch of rows, warps find scores and slopes, some rows at once; then threads add up columns.

template <class Loss, class S, class A>
__device__ __forceinline__ void any_pass(
    const S* __restrict__ x, int64 row_stride, int64 column_stride, const Rows<A> rows, const A* __restrict__ parameters,
    int64 n, int d, A* __restrict__ partials
) {
    enum { K = Loss::SCORES };
    SHARED_MEMORY(A, batch_slopes);
    // Of the rows at a place in all batches, slopes and losses. One thread looks at them all.
    A* place_sums = batch_slopes + BATCH_ROWS * K;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int64 chunk = blockIdx.x; chunk * CHUNK_ROWS < n; chunk += gridDim.x) {
        const int64 begin = chunk * CHUNK_ROWS, end = begin + CHUNK_ROWS < n ? begin + CHUNK_ROWS : n;
        A* partial = partials + chunk * (K * (d + 1) + 1);
        for (int64 first = begin; first < end; first += BATCH_ROWS) {
            const int count = end - first < BATCH_ROWS ? (int)(end - first) : BATCH_ROWS;
            A scores[K][AT_ONCE] = {}, z[K], slopes[K], value;
#pragma unroll 1
            for (int column = lane; column < d; column += WARP) {
                const S* entry = x + (first + warp) * row_stride + column * column_stride;
                A entries[AT_ONCE];
#pragma unroll
                for (int u = 0; u < AT_ONCE; u++)
                    entries[u] = warp + u * ANY_WARPS < count ? number(entry[u * ANY_WARPS * row_stride]) : A(0);
#pragma unroll
                for (int k = 0; k < K; k++) {
                    const A coef = parameters[k * d + column];
#pragma unroll
                    for (int u = 0; u < AT_ONCE; u++) scores[k][u] += entries[u] * coef;
                }
            }
#pragma unroll
            for (int k = 0; k < K; k++) z[k] = transposed_sum<WARP, AT_ONCE>(scores[k], lane) + parameters[K * d + k];
            const int own = warp + lane * ANY_WARPS;
            if (own < count) {
                rows.template look<Loss>(first + own, z, value, slopes);
                A* sums = place_sums + own * (K + 1);
#pragma unroll
                for (int k = 0; k < K; k++) {
                    batch_slopes[own * K + k] = slopes[k];
                    sums[k] = (first == begin ? A(0) : sums[k]) + slopes[k];
                }
                sums[K] = (first == begin ? A(0) : sums[K]) + value;
            }
            __syncthreads();
            for (int column = threadIdx.x; column < d; column += ANY_WARPS * WARP) {
                const S* entry = x + first * row_stride + column * column_stride;
                A sums[K];
#pragma unroll
                for (int k = 0; k < K; k++) sums[k] = first == begin ? A(0) : partial[k * d + column];
                for (int i = 0; i < count; i++) {
                    const A here = number(entry[i * row_stride]);
#pragma unroll
                    for (int k = 0; k < K; k++) sums[k] += batch_slopes[i * K + k] * here;
                }
#pragma unroll
                for (int k = 0; k < K; k++) partial[k * d + column] = sums[k];
            }
            __syncthreads();
        }
        if (threadIdx.x <= K) {
            A sum = 0;
            for (int i = 0; i < BATCH_ROWS && begin + i < end; i++) sum += place_sums[i * (K + 1) + threadIdx.x];
            partial[K * d + threadIdx.x] = sum;
        }
        __syncthreads();
    }
}

// ---- the sums of columns over segments of FOLD_PARTS rows, in float64 and in order; twice gives those of 65,536 chunks

// The sum of every FOLD_ROWS-th entry of a column.
template <class A>
__device__ __forceinline__ double strided_sum(const A* parts, int64 begin, int64 end, int width, int column) {
    double sum = 0;
    for (int64 p = begin; p < end; p += FOLD_ROWS) sum += parts[p * width + column];
    return sum;
}

template <class A>
__device__ __forceinline__ void fold(const A* __restrict__ parts, int64 n_parts, int width, double* __restrict__ sums) {
    SHARED_MEMORY(double, shared);
    const int tiles = (width + WARP - 1) / WARP, lane = threadIdx.x % WARP, part = threadIdx.x / WARP;
    const int column = blockIdx.x % tiles * WARP + lane;
    const int64 segment = blockIdx.x / tiles, begin = segment * FOLD_PARTS;
    const int64 end = begin + FOLD_PARTS < n_parts ? begin + FOLD_PARTS : n_parts;
    double sum = column < width ? strided_sum(parts, begin + part, end, width, column) : 0;
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (part == 0 && column < width) {
        for (int other = 1; other < FOLD_ROWS; other++) sum += shared[other * WARP + lane];
        sums[segment * width + column] = sum;
    }
}

// ---- a sparse matrix by compressed rows times a dense one, (columns, width) by rows: a warp a row, sums in float64

template <class T, class Index, class Out>
__device__ __forceinline__ void csr_product(
    const T* __restrict__ data, const Index* __restrict__ indices, const Index* __restrict__ indptr,
    const T* __restrict__ dense, int64 n, int width, Out* __restrict__ product
) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    for (int64 row = (int64)blockIdx.x * warps + threadIdx.x / WARP; row < n; row += (int64)gridDim.x * warps)
        for (int column = 0; column < width; column++) {
            double sum = 0;
            for (int64 entry = (int64)indptr[row] + lane; entry < indptr[row + 1]; entry += WARP)
                sum += (double)data[entry] * dense[(int64)indices[entry] * width + column];
            sum = warp_sum(sum, 1);
            if (lane == 0) product[row * width + column] = (Out)sum;
        }
}

// ---- kernels by name

#define NUMBER(storage) Stored<storage>::Number
#define ROW_PASS(name, loss, storage, lanes, vectors, at_once)                                                         \
    extern "C" __global__ void __launch_bounds__(ROW_WARPS * WARP, ROW_BLOCKS) name(                                   \
        const storage* x, const NUMBER(storage)* targets, const NUMBER(storage)* weights,                              \
        const NUMBER(storage)* offset, NUMBER(storage) parameter, const NUMBER(storage)* parameters, int64 n, int d,   \
        NUMBER(storage)* scores, NUMBER(storage)* partials, const int64* halted                                        \
    ) {                                                                                                                \
        if (halted && *halted) return;                                                                                 \
        const Rows<NUMBER(storage)> rows = {targets, weights, offset, parameter, scores};                              \
        row_pass<loss, storage, lanes, vectors, at_once, NUMBER(storage)>(x, rows, parameters, n, d, partials);        \
    }                                                                                                                  \
    EXPORT(name)
#define ANY_PASS(name, loss, storage)                                                                                  \
    extern "C" __global__ void __launch_bounds__(ANY_WARPS * WARP, OTHER_BLOCKS) name(                                 \
        const storage* x, int64 row_stride, int64 column_stride, const NUMBER(storage)* targets,                       \
        const NUMBER(storage)* weights, const NUMBER(storage)* offset, NUMBER(storage) parameter,                      \
        const NUMBER(storage)* parameters, int64 n, int d, NUMBER(storage)* scores, NUMBER(storage)* partials,         \
        const int64* halted                                                                                            \
    ) {                                                                                                                \
        if (halted && *halted) return;                                                                                 \
        const Rows<NUMBER(storage)> rows = {targets, weights, offset, parameter, scores};                              \
        any_pass<loss, storage, NUMBER(storage)>(x, row_stride, column_stride, rows, parameters, n, d, partials);      \
    }                                                                                                                  \
    EXPORT(name)
#define FOLD(name, number)                                                                                             \
    extern "C" __global__ void __launch_bounds__(FOLD_ROWS * WARP, OTHER_BLOCKS) name(                                 \
        const number* parts, int64 n_parts, int width, double* sums, const int64* halted                               \
    ) {                                                                                                                \
        if (halted && *halted) return;                                                                                 \
        fold<number>(parts, n_parts, width, sums);                                                                     \
    }                                                                                                                  \
    EXPORT(name)
#define CSR_PRODUCT(name, number, index, out)                                                                          \
    extern "C" __global__ void __launch_bounds__(ANY_WARPS * WARP, OTHER_BLOCKS) name(                                 \
        const number* data, const index* indices, const index* indptr, const number* dense, int64 n, int width,        \
        out* product                                                                                                   \
    ) {                                                                                                                \
        csr_product<number, index, out>(data, indices, indptr, dense, n, width, product);                              \
    }                                                                                                                  \
    EXPORT(name)
