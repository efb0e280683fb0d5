
// ==== Steps of a descent that nobody looks at: from the sums of a pass, `finish` judges the point and makes the next one
//
// In the variables of the descent, v = w · scale and c = b + Σ w · center: the coefficients of one score after the
// other, then, if they are fitted, the intercepts, with scale one and center zero. All of it in float64 and by one
// block. Of several scores there is FINISH(…) alone, of one ONE_BLOCK(…) and QUADRATIC(…), too.
// They are compiled without contractions, so that a step is w − η ∇F(w) to the last bit; where one is meant it is `fma`.

// Why a descent ends; in the order of ENDS in resident.py.
enum { GOES_ON, DIVERGED, CONVERGED, TARGET_LOSS, MAX_STEPS, STALLED };

// Where a descent is. The host writes it before it lets steps be made: those from `first` to before `end`, if no ending
// comes before; `last` is the number of the point from which no step is made.
struct Progress {
    int64 step, first, end, last, halted;
};
// By how much rounding alone may change a value, as in rounding.py.
struct Rounding {
    double precision, squares, steepest, sizes;

    __device__ __forceinline__ double operator()(double value) const {
        const double size = fabs(value), of_scores = sqrt(size * squares);
        // Not `fmin`: what is no number stays none.
        return precision * (64 * size + 4 * (of_scores > steepest ? steepest : of_scores) + 4 * sizes);
    }
};
// What changes from step to step. Where steps are tried, `size` is that of the latest, which set out from where the
// smooth part is `value`, is good where it is at most `bound`, is the `trials`-th from there, and may carry on of those
// before it.
struct Course {
    double reference, t, size, value, bound, trials, carries;
};
struct Settings {
    double total_weight, l1, l2, tolerance, target_loss, momentum, beta1, beta2, epsilon;
    Rounding rounding;
    // None where sizes belong to steps by their numbers: then a step is not tried but made.
    double most_trials;
    Course course;
};
// What belongs to a step by its number alone.
struct Sizes {
    double size, mean_bias, square_bias;
};
struct Record {
    double loss, norm, size;
};

// One variable, and what the method remembers of it.
struct Variable {
    double point, gradient;
    double &first, &second;
    double l1, scale;

    __device__ __forceinline__ double prox(double value, double size) const {
        const double most = size * l1 / scale;
        return value - fmax(fmin(value, most), -most);
    }
};

// ---- the methods: where a step leads, as in methods.py

struct GradientDescent {
    enum { ACCELERATES = 0, CARRIES = 0 };
    static __device__ __forceinline__ double target(Variable v, const Settings&, const Sizes& step) {
        return v.prox(v.point - step.size * v.gradient, step.size);
    }
};
struct Momentum {
    enum { ACCELERATES = 0, CARRIES = 1 };
    static __device__ __forceinline__ double target(Variable v, const Settings& set, const Sizes& step) {
        const double moved = v.point - step.size * v.gradient + set.momentum * (v.point - v.first);
        v.first = v.point;
        return v.prox(moved, step.size);
    }
};
// What goes on from `target` is in `finish`: it needs a sum over all variables.
struct Nesterov : GradientDescent {
    enum { ACCELERATES = 1, CARRIES = 1 };
};
struct Adam {
    enum { ACCELERATES = 0, CARRIES = 0 };
    static __device__ __forceinline__ double target(Variable v, const Settings& set, const Sizes& step) {
        v.first = set.beta1 * v.first + (1 - set.beta1) * v.gradient;
        v.second = set.beta2 * v.second + (1 - set.beta2) * (v.gradient * v.gradient);
        const double own = step.size / (sqrt(v.second / step.square_bias) + set.epsilon);
        return v.prox(v.point - own * (v.first / step.mean_bias), own);
    }
};

// ---- what a block knows together

// NaN is larger than any number.
struct Larger {
    __device__ __forceinline__ double operator()(double a, double b) const { return a != a || a > b ? a : b; }
};
struct Plus {
    __device__ __forceinline__ double operator()(double a, double b) const { return a + b; }
};

// Join what all threads have, in one order; all get the result. `slots` has room for a number of each warp.
template <class Join> __device__ __forceinline__ double joined(double value, double* slots, Join join) {
    for (int mask = 1; mask < WARP; mask <<= 1) value = join(value, __shfl_xor_sync(EVERY_LANE, value, mask));
    if (threadIdx.x % WARP == 0) slots[threadIdx.x / WARP] = value;
    __syncthreads();
    value = slots[0];
    for (int warp = 1; warp < (int)blockDim.x / WARP; warp++) value = join(value, slots[warp]);
    __syncthreads();
    return value;
}

// What `fold` makes of a few rows, by the same additions in the same order.
template <class P>
__device__ __forceinline__ void last_fold(const P* __restrict__ parts, int64 n_parts, int width, double* sums) {
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        double sum = strided_sum(parts, 0, n_parts, width, column);
        for (int part = 1; part < FOLD_ROWS; part++) sum += strided_sum(parts, part, n_parts, width, column);
        sums[column] = sum;
    }
    __syncthreads();
}

// ---- a point is judged and the next one made

template <class A> struct Descent {
    Progress* progress;
    Settings* settings;
    const Sizes* sizes;
    // Rows of n_variables: center, scale, point, two that the method remembers, gradient, target, and point and gradient
    // where the step that is tried set out.
    double* vectors;
    const double* sums;
    // The step and the ending, then what was found at each point, and the size of the step that led there.
    Record* records;
    A* parameters;
    int d, n_scores, n_variables;

    __device__ __forceinline__ int n_coef() const { return n_scores * d; }
    __device__ __forceinline__ double* row(int number) const { return vectors + number * n_variables; }

    __device__ __forceinline__ Variable variable(const Settings& set, int j) const {
        return {row(2)[j], row(5)[j], row(3)[j], row(4)[j], j < n_coef() ? set.l1 : 0, row(1)[j]};
    }

    __device__ __forceinline__ double mapping(const Settings& set, int j) const {
        const Variable here = variable(set, j);
        const double moved = here.point - here.gradient;
        return here.gradient + (moved - here.prox(moved, 1));
    }

    template <class Method> __device__ __forceinline__ void finish(double* slots) const {
        const double *center = row(0), *scale = row(1), *point = row(2);
        double* gradient = row(5);
        const Settings set = *settings;
        Course now = set.course;
        const int64 step = progress->step, number = step - progress->first;
        double ridge = 0, rough = 0, largest = 0;
        for (int j = threadIdx.x; j < n_variables; j += blockDim.x) {
            const bool is_coef = j < n_coef();
            const double coef = is_coef ? point[j] / scale[j] : 0, slope = sums[j] / set.total_weight;
            const double of_score = is_coef ? sums[n_coef() + j / d] / set.total_weight : 0;
            ridge += 0.5 * set.l2 * coef * coef;
            rough += set.l1 * fabs(coef);
            gradient[j] = is_coef ? (slope + set.l2 * coef - of_score * center[j]) / scale[j] : slope;
            largest = Larger()(largest, fabs(mapping(set, j)));
        }
        const double value = sums[n_coef() + n_scores] / set.total_weight + joined(ridge, slots, Plus());
        const bool is_taken = now.trials == 0 || (now.size > 0 && value <= now.bound + set.rounding(value));
        int ending;
        if (is_taken) {
            const double loss = value + (set.l1 > 0 ? joined(rough, slots, Plus()) : 0);
            const double norm = length(set, joined(largest, slots, Larger()), slots);
            now.value = value;
            now.trials = 0;
            now.reference = now.reference >= 0 ? now.reference : norm;
            ending = !(isfinite(loss) && isfinite(norm))                          ? DIVERGED
                     : set.tolerance > 0 && norm <= set.tolerance * now.reference ? CONVERGED
                     : loss <= set.target_loss                                    ? TARGET_LOSS
                     : step >= progress->last                                     ? MAX_STEPS
                                                                                  : GOES_ON;
            if (threadIdx.x == 0) records[number + 1] = {loss, norm, now.size};
        } else {
            ending = now.trials < set.most_trials ? GOES_ON : STALLED;
            restore<Method>(now);
        }
        const int64 reached = is_taken ? step : step - 1;
        if (!ending) advance<Method>(set, now, sizes[number], slots);
        if (threadIdx.x == 0) {
            progress->step = ending ? reached : reached + 1;
            progress->halted = ending || reached + 1 == progress->end;
            records[0] = {(double)progress->step, (double)ending, now.size};
            settings->course = now;
        }
    }

    // The norm of the mapping whose largest entry is known: scaled, because squares may leave the range of numbers.
    __device__ __forceinline__ double length(const Settings& set, double largest, double* slots) const {
        const bool sensible = largest > 0 && isfinite(largest);
        double squares = 0;
        for (int j = threadIdx.x; sensible && j < n_variables; j += blockDim.x) {
            const double share = mapping(set, j) / largest;
            squares += share * share;
        }
        squares = joined(squares, slots, Plus());
        return sensible ? largest * sqrt(squares) : largest;
    }

    // Go back to where the step set out. What it carried on may be to blame: only without that is half its size next.
    template <class Method> __device__ __forceinline__ void restore(Course& now) const {
        double *point = row(2), *before = row(3), *gradient = row(5), *kept = row(7), *kept_gradient = row(8);
        for (int j = threadIdx.x; j < n_variables; j += blockDim.x) {
            point[j] = kept[j];
            gradient[j] = kept_gradient[j];
            if (Method::CARRIES) before[j] = kept[j];
        }
        now.t = 1;
        if (!now.carries) now.size *= 0.5;
    }

    // Give the next pass its parameters.
    __device__ __forceinline__ void expose(double* slots) const {
        double *center = row(0), *scale = row(1), *point = row(2);
        for (int k = 0; k < n_scores; k++) {
            const int intercept = n_coef() + k;
            double shift = 0;
            for (int j = k * d + threadIdx.x; j < (k + 1) * d; j += blockDim.x) {
                const double coef = point[j] / scale[j];
                parameters[j] = (A)coef;
                shift += coef * center[j];
            }
            shift = joined(shift, slots, Plus());
            if (threadIdx.x == 0) parameters[intercept] = n_variables > n_coef() ? (A)(point[intercept] - shift) : A(0);
        }
        __syncthreads();
    }

    // Make the step, or try it.
    template <class Method>
    __device__ __forceinline__ void advance(const Settings& set, Course& now, Sizes step, double* slots) const {
        double *point = row(2), *before = row(3), *gradient = row(5), *target = row(6);
        double *kept = row(7), *kept_gradient = row(8);
        const bool searches = set.most_trials > 0;
        if (searches) step.size = now.size;
        double carried = Method::CARRIES && now.t > 1, uphill = 0, share = 0, promise = 0;
        for (int j = threadIdx.x; j < n_variables; j += blockDim.x) {
            carried += Method::CARRIES && before[j] != point[j];
            target[j] = Method::target(variable(set, j), set, step);
            uphill += (point[j] - target[j]) * (target[j] - before[j]);
        }
        if (Method::ACCELERATES) {
            const double t = joined(uphill, slots, Plus()) > 0 ? 1 : now.t;
            now.t = 0.5 * (1 + sqrt(1 + 4 * t * t));
            share = (t - 1) / now.t;
        }
        for (int j = threadIdx.x; j < n_variables; j += blockDim.x) {
            const double to = Method::ACCELERATES ? target[j] + share * (target[j] - before[j]) : target[j];
            const double way = to - point[j];
            if (searches) {
                promise += way * (gradient[j] + way / (2 * step.size));
                kept[j] = point[j];
                kept_gradient[j] = gradient[j];
            }
            point[j] = to;
            if (Method::ACCELERATES) before[j] = target[j];
        }
        if (searches) {
            now.carries = Method::CARRIES && joined(carried, slots, Plus()) > 0;
            now.bound = now.value + joined(promise, slots, Plus()) + set.rounding(now.value);
            now.trials++;
        }
        now.size = step.size;
        expose(slots);
    }
};

// ---- all of a pass by one block, X by columns: for what fits the cache of a multiprocessor

template <class Loss, class A>
__device__ __forceinline__ void block_pass(
    const A* __restrict__ x, const Rows<A> rows, const A* parameters, int64 n, int d, A* slopes, double* sums, double* slots
) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    double total = 0;
    for (int64 row = threadIdx.x; row < n; row += blockDim.x) {
        A score = 0, value, slope;
        for (int column = 0; column < d; column++) score = fma(x[column * n + row], parameters[column], score);
        rows.template look<Loss>(row, score + parameters[d], value, slope);
        slopes[row] = slope;
        total += value;
    }
    total = joined(total, slots, Plus());
    if (threadIdx.x == 0) sums[d + 1] = total;
    // The last column is of ones.
    for (int column = warp; column <= d; column += blockDim.x / WARP) {
        double sum = 0;
        for (int64 begin = 0; begin < n; begin += CHUNK_ROWS) {
            const int64 end = begin + CHUNK_ROWS < n ? begin + CHUNK_ROWS : n;
            A part = 0;
            for (int64 row = begin + lane; row < end; row += WARP)
                part = fma(slopes[row], column < d ? x[column * n + row] : A(1), part);
            sum += part;
        }
        sum = warp_sum(sum, 1);
        if (lane == 0) sums[column] = sum;
    }
    __syncthreads();
}

// ---- the sums of squared errors without their rows, as in least_squares.py: about the anchor, where they are known

struct Anchor {
    const double* moment;
    // Rows of d + 1: the mean, the anchor, the gradient there.
    const double* rows;
    double value, share;
};

__device__ __forceinline__ void quadratic(
    const Anchor at, const double* parameters, int d, bool has_intercept, double* sums, double* way, double* slots
) {
    const double *mean = at.rows, *anchor = mean + d + 1, *gradient = anchor + d + 1;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    double shift = 0, value = 0;
    for (int j = threadIdx.x; j < d; j += blockDim.x) {
        way[j] = parameters[j] - anchor[j];
        shift += way[j] * mean[j];
    }
    // The score of the mean row moves by this.
    shift = joined(shift, slots, Plus()) + parameters[d] - anchor[d];
    const double slope = has_intercept ? at.share * shift : 0;
    for (int j = warp; j < d; j += blockDim.x / WARP) {
        double image = 0;
        for (int k = lane; k < d; k += WARP) image = fma(at.moment[(int64)j * d + k], way[k], image);
        image = warp_sum(image, 1);
        if (lane == 0) {
            value += way[j] * (gradient[j] + 0.5 * image);
            sums[j] = gradient[j] + image + slope * mean[j];
        }
    }
    value = joined(value, slots, Plus());
    if (threadIdx.x == 0) {
        sums[d] = slope;
        sums[d + 1] = at.value + value + 0.5 * slope * shift;
    }
    __syncthreads();
}

// ---- kernels by name; FINISH of no sums is where a descent sets out

#define DESCENT(number)                                                                                                \
    Progress *progress, Settings *settings, const Sizes *sizes, double *vectors, double *sums, Record *records,        \
        number *parameters, int d, int n_scores, int n_variables
#define DESCENT_OF(number)                                                                                             \
    const Descent<number> descent = {                                                                                  \
        progress, settings, sizes, vectors, sums, records, parameters, d, n_scores, n_variables                        \
    }
#define FINISH(name, method, part, number)                                                                             \
    extern "C" __global__ void __launch_bounds__(FOLD_ROWS * WARP, OTHER_BLOCKS) name(                                 \
        const part* parts, int64 n_parts, DESCENT(number)                                                              \
    ) {                                                                                                                \
        if (progress->halted) return;                                                                                  \
        SHARED_MEMORY(double, slots);                                                                                  \
        DESCENT_OF(number);                                                                                            \
        if (!n_parts) return descent.expose(slots);                                                                    \
        last_fold(parts, n_parts, n_scores * (d + 1) + 1, sums);                                                       \
        descent.finish<method>(slots);                                                                                 \
    }                                                                                                                  \
    EXPORT(name)
#define ONE_BLOCK(name, loss, method, number)                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK_WARPS * WARP, 1) name(                                          \
        const number* x, const number* targets, const number* weights, const number* offset, number parameter,         \
        int64 n, number* slopes, DESCENT(number)                                                                       \
    ) {                                                                                                                \
        SHARED_MEMORY(double, slots);                                                                                  \
        const Rows<number> rows = {targets, weights, offset, parameter, nullptr};                                      \
        DESCENT_OF(number);                                                                                            \
        descent.expose(slots);                                                                                         \
        while (!progress->halted) {                                                                                    \
            block_pass<loss, number>(x, rows, parameters, n, d, slopes, sums, slots);                                  \
            descent.finish<method>(slots);                                                                             \
            __syncthreads();                                                                                           \
        }                                                                                                              \
    }                                                                                                                  \
    EXPORT(name)
#define QUADRATIC(name, method)                                                                                        \
    extern "C" __global__ void __launch_bounds__(BLOCK_WARPS * WARP, 1) name(                                          \
        const double* moment, const double* rows, double value, double share, DESCENT(double)                          \
    ) {                                                                                                                \
        SHARED_MEMORY(double, slots);                                                                                  \
        const Anchor anchor = {moment, rows, value, share};                                                            \
        DESCENT_OF(double);                                                                                            \
        descent.expose(slots);                                                                                         \
        while (!progress->halted) {                                                                                    \
            quadratic(anchor, parameters, d, n_variables > d, sums, slots + blockDim.x / WARP, slots);                 \
            descent.finish<method>(slots);                                                                             \
            __syncthreads();                                                                                           \
        }                                                                                                              \
    }                                                                                                                  \
    EXPORT(name)
