
// ==== Losses and slopes where scores are there already, between two products of matrices
//
// Scores, (n, width) by rows, go through once, and their slopes take their place. Rows that fit the registers of LANES
// lanes are taken ROWS at a time; of a wider one a block finds the scores in its cache again. Chunks are those of the
// other passes, their sums in float64 from the start. Kernels: SCORE_PASS(…), WIDE_PASS(…).

// ---- the losses, column by column

// What is observed of a column: its own number, or whether it is the class of the row.
struct OwnTarget {
    template <class A> static __device__ __forceinline__ A target(const A* targets, int64 row, int column, int width) {
        return targets[row * width + column];
    }
};
struct ClassTarget {
    template <class A> static __device__ __forceinline__ A target(const A* targets, int64 row, int column, int) {
        return targets[row] == column ? A(1) : A(0);
    }
};

// The mean over the columns of a loss of one score.
template <class Point> struct Mean : OwnTarget {
    enum { IS_JOINT = 0 };
    template <class A>
    static __device__ __forceinline__ A slope(A z, A, A y, A parameter, int width, A& value) {
        A own, slope;
        Point::at(z, y, parameter, own, slope);
        value += own / width;
        return slope / width;
    }
};

// Cross-entropy. The highest score and the sum of exponentials, whose logarithm is part of the value, are of the row.
template <class Target> struct Entropy : Target {
    enum { IS_JOINT = 1 };
    template <class A> static __device__ __forceinline__ A exponential(A z, A highest, A y, A& value) {
        const A below = z - highest;
        // Chosen, not multiplied by zero: what is far below the highest may be minus infinity.
        value -= y > 0 ? y * below : A(0);
        return exp(below);
    }
    template <class A> static __device__ __forceinline__ A slope(A e, A total, A y, A, int, A&) { return e / total - y; }
};

// The score of a column with its intercept, which may be wanted, and then its offset.
template <class A>
__device__ __forceinline__ A whole_score(const Rows<A>& rows, A z, const A* intercept, int64 place, int column) {
    if (intercept) z += intercept[column];
    if (rows.scores) rows.scores[place] = z;
    return rows.offset ? z + rows.offset[place] : z;
}

template <class A> __device__ __forceinline__ A below_all() { return -(A)__uint_as_float(0x7f800000u); }

// ---- rows of at most LANES · OWN scores

template <class Loss, int LANES, int OWN, int ROWS, class A>
__device__ __forceinline__ void score_pass(
    A* scores, const Rows<A> rows, const A* __restrict__ intercept, int64 n, int width, double* __restrict__ partials
) {
    enum { GROUPS = WARP / LANES };
    SHARED_MEMORY(double, sums);
    const int in_warp = threadIdx.x % WARP, warp = threadIdx.x / WARP, lane = in_warp % LANES, group = in_warp / LANES;
    for (int64 chunk = blockIdx.x; chunk * CHUNK_ROWS < n; chunk += gridDim.x) {
        const int64 end = (chunk + 1) * CHUNK_ROWS < n ? (chunk + 1) * CHUNK_ROWS : n;
        double total = 0, slopes[OWN] = {};
        for (int64 first = chunk * CHUNK_ROWS + warp * ROWS * GROUPS; first < end; first += ROW_WARPS * ROWS * GROUPS) {
            // Scores, then exponentials, then slopes.
            A z[ROWS][OWN], own_total = 1;
#pragma unroll
            for (int u = 0; u < ROWS; u++) {
                const int64 row = first + u * GROUPS + group;
#pragma unroll
                for (int k = 0; k < OWN; k++) {
                    const int column = k * LANES + lane;
                    z[u][k] = row < end && column < width ? scores[row * width + column] : below_all<A>();
                }
            }
#pragma unroll
            for (int u = 0; u < ROWS; u++) {
                const int64 row = first + u * GROUPS + group;
#pragma unroll
                for (int k = 0; k < OWN; k++) {
                    const int column = k * LANES + lane;
                    if (row < end && column < width)
                        z[u][k] = whole_score(rows, z[u][k], intercept, row * width + column, column);
                }
            }
#pragma unroll
            for (int u = 0; u < ROWS; u++) {
                const int64 row = first + u * GROUPS + group;
                const A weight = row < end ? rows.weight(row) : A(0);
                A value = 0, row_total = 0;
                const auto y = [&](int k) {
                    const int column = k * LANES + lane;
                    return row < end && column < width ? Loss::target(rows.targets, row, column, width) : A(0);
                };
                if constexpr (Loss::IS_JOINT) {
                    A highest = z[u][0];
#pragma unroll
                    for (int k = 1; k < OWN; k++) highest = z[u][k] > highest ? z[u][k] : highest;
#pragma unroll
                    for (int mask = 1; mask < LANES; mask <<= 1) {
                        const A other = __shfl_xor_sync(EVERY_LANE, highest, mask);
                        highest = other > highest ? other : highest;
                    }
#pragma unroll
                    for (int k = 0; k < OWN; k++) row_total += z[u][k] = Loss::exponential(z[u][k], highest, y(k), value);
#pragma unroll
                    for (int mask = 1; mask < LANES; mask <<= 1)
                        row_total += __shfl_xor_sync(EVERY_LANE, row_total, mask);
                    own_total = lane % ROWS == u ? row_total : own_total;
                }
#pragma unroll
                for (int k = 0; k < OWN; k++) {
                    A slope = 0;
                    if (k * LANES + lane < width)
                        slope = weighed(Loss::slope(z[u][k], row_total, y(k), rows.parameter, width, value), weight);
                    slopes[k] += z[u][k] = slope;
                }
                total += weighed(value, weight);
            }
            // A logarithm once a row, not once a lane.
            const int64 own = first + (lane % ROWS) * GROUPS + group;
            if (Loss::IS_JOINT && lane < ROWS && own < end) total += weighed(log(own_total), rows.weight(own));
#pragma unroll
            for (int u = 0; u < ROWS; u++) {
                const int64 row = first + u * GROUPS + group;
#pragma unroll
                for (int k = 0; k < OWN; k++) {
                    const int column = k * LANES + lane;
                    if (row < end && column < width) scores[row * width + column] = z[u][k];
                }
            }
        }
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            const int column = k * LANES + lane;
            const double sum = warp_sum(slopes[k], LANES);
            if (group == 0 && column < width) sums[warp * (width + 1) + column] = sum;
        }
        total = warp_sum(total, 1);
        if (in_warp == 0) sums[warp * (width + 1) + width] = total;
        add_warps(sums, width + 1, partials + chunk * (width + 1));
    }
}

// ---- rows of any width, each by all of a block; a thread looks at the same columns of all of them

template <class Loss, class A>
__device__ __forceinline__ void wide_pass(
    A* scores, const Rows<A> rows, const A* __restrict__ intercept, int64 n, int width, double* __restrict__ partials
) {
    SHARED_MEMORY(double, slots);
    for (int64 chunk = blockIdx.x; chunk * CHUNK_ROWS < n; chunk += gridDim.x) {
        const int64 begin = chunk * CHUNK_ROWS, end = begin + CHUNK_ROWS < n ? begin + CHUNK_ROWS : n;
        double* sums = partials + chunk * (width + 1);
        double total = 0;
        for (int64 row = begin; row < end; row++) {
            A *here = scores + row * width, value = 0;
            double highest = below_all<double>(), row_total = 0;
            for (int column = threadIdx.x; column < width; column += blockDim.x) {
                here[column] = whole_score(rows, here[column], intercept, row * width + column, column);
                highest = Larger()(highest, here[column]);
            }
            if constexpr (Loss::IS_JOINT) {
                highest = joined(highest, slots, Larger());
                for (int column = threadIdx.x; column < width; column += blockDim.x) {
                    const A y = Loss::target(rows.targets, row, column, width);
                    here[column] = Loss::exponential(here[column], (A)highest, y, value);
                    row_total += here[column];
                }
                row_total = joined(row_total, slots, Plus());
                if (threadIdx.x == 0) value += log((A)row_total);
            }
            const A weight = rows.weight(row);
            for (int column = threadIdx.x; column < width; column += blockDim.x) {
                const A y = Loss::target(rows.targets, row, column, width);
                const A slope = Loss::slope(here[column], (A)row_total, y, rows.parameter, width, value);
                here[column] = weighed(slope, weight);
                sums[column] = (row == begin ? 0 : sums[column]) + here[column];
            }
            total += weighed(value, weight);
        }
        total = joined(total, slots, Plus());
        if (threadIdx.x == 0) sums[width] = total;
    }
}

// ---- kernels by name

#define OF_SCORES(number)                                                                                              \
    number *scores, const number *targets, const number *weights, const number *offset, number parameter,              \
        const number *intercept, int64 n, int width, number *kept, double *partials
#define SCORE_PASS(name, loss, number, lanes, own, at_once)                                                            \
    extern "C" __global__ void __launch_bounds__(ROW_WARPS * WARP, ROW_BLOCKS) name(OF_SCORES(number)) {               \
        const Rows<number> rows = {targets, weights, offset, parameter, kept};                                         \
        score_pass<loss, lanes, own, at_once, number>(scores, rows, intercept, n, width, partials);                    \
    }                                                                                                                  \
    EXPORT(name)
#define WIDE_PASS(name, loss, number)                                                                                  \
    extern "C" __global__ void __launch_bounds__(ANY_WARPS * WARP, OTHER_BLOCKS) name(OF_SCORES(number)) {             \
        const Rows<number> rows = {targets, weights, offset, parameter, kept};                                         \
        wide_pass<loss, number>(scores, rows, intercept, n, width, partials);                                          \
    }                                                                                                                  \
    EXPORT(name)
