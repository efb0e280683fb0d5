// CUDA on a CPU, for tests: each CUDA thread is a fiber that runs until it waits at a barrier or for its warp.
//
// One block runs after the other. Which fiber runs next is the schedule's choice, so that a result that depends on it
// shows: 0 ascending, 1 descending, 2 … 99 drawn anew for every turn, from 100 on one warp as far as it can go before
// another begins, which is what finds a missing barrier. Shared memory begins as NaN. A deadlock ends the process.
// What a CPU cannot show: speed, the order of memory writes, divergence within a warp, occupancy.
#pragma once
#include <algorithm>
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint4 { unsigned x, y, z, w; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace shim {

constexpr unsigned WARP_SIZE = 32, STACK_BYTES = 64 << 10;
constexpr int WARP_BY_WARP = 100;

struct Barrier {
    unsigned members = 0, arrived = 0;
    unsigned long generation = 0;
    bool complete() {
        if (arrived < members || !members) return false;
        arrived = 0;
        generation++;
        return true;
    }
};

struct Warp {
    Barrier barrier;
    uint64_t slots[WARP_SIZE];
};

struct Fiber {
    ucontext_t context;
    jmp_buf place;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    bool started, done;
    Barrier* waits_at;
    unsigned long generation;
    bool blocked() const { return waits_at && waits_at->generation == generation; }
};

struct Machine {
    unsigned grid = 0, block_size = 0, block = 0, thread = 0, live = 0;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    Barrier barrier;
    std::unique_ptr<unsigned char[]> shared;
    std::function<void()> kernel;
    jmp_buf scheduler;
};
inline Machine machine;

inline void wait(Barrier& barrier) {
    barrier.arrived++;
    if (barrier.complete()) return;
    Fiber& self = machine.fibers[machine.thread];
    self.waits_at = &barrier;
    self.generation = barrier.generation;
    if (!_setjmp(self.place)) _longjmp(machine.scheduler, 1);
    machine.fibers[machine.thread].waits_at = nullptr;
}

inline void begin_fiber() {
    machine.kernel();
    machine.fibers[machine.thread].done = true;
    machine.live--;
    // Who has returned is waited for no longer.
    for (Barrier* barrier : {&machine.barrier, &machine.warps[machine.thread / WARP_SIZE].barrier}) {
        barrier->members--;
        barrier->complete();
    }
    _longjmp(machine.scheduler, 1);
}

// Run a thread until it waits; false if it cannot go on.
inline bool run(unsigned thread) {
    Fiber& fiber = machine.fibers[thread];
    if (fiber.done || (fiber.started && fiber.blocked())) return false;
    machine.thread = thread;
    if (!_setjmp(machine.scheduler)) {
        if (fiber.started) _longjmp(fiber.place, 1);
        fiber.started = true;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK_BYTES;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, begin_fiber, 0);
        setcontext(&fiber.context);
    }
    return true;
}

inline bool turn(int schedule, std::vector<unsigned>& order, std::mt19937& random) {
    bool any = false;
    if (schedule < WARP_BY_WARP) {
        if (schedule > 1) std::shuffle(order.begin(), order.end(), random);
        for (size_t i = 0; i < order.size(); i++) any |= run(order[i]);
        return any;
    }
    const unsigned n_warps = machine.warps.size(), first = random() % n_warps;
    for (unsigned w = 0; w < n_warps; w++) {
        const unsigned begin = (first + w) % n_warps * WARP_SIZE;
        const unsigned end = std::min(machine.block_size, begin + WARP_SIZE);
        for (bool again = true; again; any |= again) {
            again = false;
            for (unsigned thread = begin; thread < end; thread++) again |= run(thread);
        }
    }
    return any;
}

inline void run_block(unsigned block, unsigned shared_bytes, int schedule, std::mt19937& random) {
    Machine& m = machine;
    m.block = block;
    m.live = m.block_size;
    m.barrier = {m.block_size};
    m.warps.assign((m.block_size + WARP_SIZE - 1) / WARP_SIZE, {});
    for (unsigned thread = 0; thread < m.block_size; thread++) {
        m.warps[thread / WARP_SIZE].barrier.members++;
        m.fibers[thread].started = m.fibers[thread].done = false;
        m.fibers[thread].waits_at = nullptr;
    }
    // Exactly as much as was asked for, so that a sanitizer sees what is beyond; every byte of it part of a NaN.
    m.shared.reset(new unsigned char[shared_bytes]);
    std::memset(m.shared.get(), 0xff, shared_bytes);
    std::vector<unsigned> order(m.block_size);
    for (unsigned i = 0; i < m.block_size; i++) order[i] = schedule == 1 ? m.block_size - 1 - i : i;
    while (m.live)
        if (!turn(schedule, order, random)) {
            std::fprintf(stderr, "deadlock: %u threads of block %u wait for ever\n", m.live, block);
            std::abort();
        }
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<P>*>(arguments[I])...);
}

template <class... P>
void launch(void (*kernel)(P...), unsigned grid, unsigned block, unsigned shared_bytes, int schedule, void** arguments) {
    machine.grid = grid;
    machine.block_size = block;
    machine.kernel = [=] { call(kernel, arguments, std::index_sequence_for<P...>{}); };
    if (machine.fibers.size() < block) machine.fibers = std::vector<Fiber>(block);
    std::mt19937 random(schedule);
    std::vector<unsigned> blocks(grid);
    for (unsigned i = 0; i < grid; i++) blocks[i] = schedule == 1 ? grid - 1 - i : i;
    if (schedule > 1) std::shuffle(blocks.begin(), blocks.end(), random);
    for (unsigned block_number : blocks) run_block(block_number, shared_bytes, schedule, random);
}

inline Warp& own_warp() { return machine.warps[machine.thread / WARP_SIZE]; }

template <class T> T shuffled(T value, unsigned source) {
    Warp& warp = own_warp();
    std::memcpy(&warp.slots[machine.thread % WARP_SIZE], &value, sizeof value);
    wait(warp.barrier);
    std::memcpy(&value, &own_warp().slots[source % WARP_SIZE], sizeof value);
    wait(own_warp().barrier);
    return value;
}

inline float from_half(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? std::ldexp((float)fraction, -24)
                                       : std::ldexp((float)(fraction + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

struct Dimension {
    unsigned (*read)();
    operator unsigned() const { return read(); }
};
struct Index { Dimension x; };

}  // namespace shim

inline const shim::Index threadIdx{{[] { return shim::machine.thread; }}};
inline const shim::Index blockIdx{{[] { return shim::machine.block; }}};
inline const shim::Index blockDim{{[] { return shim::machine.block_size; }}};
inline const shim::Index gridDim{{[] { return shim::machine.grid; }}};

inline void __syncthreads() { shim::wait(shim::machine.barrier); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return shim::shuffled(value, shim::machine.thread % shim::WARP_SIZE ^ mask);
}
template <class T> T __shfl_sync(unsigned, T value, int lane) { return shim::shuffled(value, lane); }
template <class T> T __ldcs(const T* place) {
    T value;
    if (reinterpret_cast<uintptr_t>(place) % alignof(T) || (sizeof(T) == 16 && reinterpret_cast<uintptr_t>(place) % 16)) {
        std::fprintf(stderr, "misaligned load\n");
        std::abort();
    }
    std::memcpy(&value, place, sizeof value);
    return value;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
using std::exp;
using std::fabs;
using std::fma;
using std::fmax;
using std::fmin;
using std::isfinite;
using std::log;
using std::log1p;
using std::sqrt;

#define SHARED_MEMORY(type, name) type* name = reinterpret_cast<type*>(shim::machine.shared.get())
#define EXPORT(name)                                                                                                   \
    extern "C" void on_cpu_##name(unsigned grid, unsigned block, unsigned shared_bytes, int schedule, void** arguments) { \
        shim::launch(name, grid, block, shared_bytes, schedule, arguments);                                            \
    }
