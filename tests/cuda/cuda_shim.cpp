// CUDA on a CPU, for tests: each CUDA thread is a fiber that runs until it waits at a barrier or for its warp.
//
// One block runs after the other. Which fiber runs next is the schedule's choice, so that a result that depends on it
// shows: 0 ascending, 1 descending, 2 … 99 drawn anew for every turn, from 100 on one warp as far as it can go before
// another begins, which is what finds a missing barrier. Shared memory begins as NaN. A deadlock ends the process.
// What a CPU cannot show: speed, the order of memory writes, divergence within a warp, occupancy.
#include "cuda_shim.hpp"
#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <ucontext.h>
#include <vector>

namespace shim {

Place place;

// Not a power of two: what is on top of all stacks would have one place in the cache.
constexpr unsigned STACK_BYTES = (64 << 10) + 320;
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

// Where to go on: the compiler's own, because those of the library take longer, and of a sanitizer far longer.
typedef void* Mark[5];
[[noreturn, gnu::noinline]] static void go(Mark& mark) { __builtin_longjmp(mark, 1); }

struct Fiber {
    Mark place;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    bool started = false, done;
    Barrier* waits_at;
    unsigned long generation;
    bool blocked() const { return waits_at && waits_at->generation == generation; }
};

struct Machine {
    unsigned live = 0;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    Barrier barrier;
    std::unique_ptr<unsigned char[]> shared;
    std::function<void()> kernel;
    Mark scheduler;
};
static Machine machine;

static Warp& own_warp() { return machine.warps[place.thread / WARP_SIZE]; }

[[gnu::noinline]] static void wait(Barrier& barrier) {
    barrier.arrived++;
    if (barrier.complete()) return;
    Fiber& self = machine.fibers[place.thread];
    self.waits_at = &barrier;
    self.generation = barrier.generation;
    if (!__builtin_setjmp(self.place)) go(machine.scheduler);
    machine.fibers[place.thread].waits_at = nullptr;
}

void wait_for_block() { wait(machine.barrier); }
void wait_for_warp() { wait(own_warp().barrier); }

// The life of a fiber: a kernel after the other, as the thread that it is.
static void begin_fiber() {
    while (true) {
        machine.kernel();
        Fiber& self = machine.fibers[place.thread];
        self.done = true;
        machine.live--;
        // Who has returned is waited for no longer.
        for (Barrier* barrier : {&machine.barrier, &own_warp().barrier}) {
            barrier->members--;
            barrier->complete();
        }
        if (!__builtin_setjmp(self.place)) go(machine.scheduler);
    }
}

// Run a thread until it waits; false if it cannot go on.
[[gnu::noinline]] static bool run(unsigned thread) {
    Fiber& fiber = machine.fibers[thread];
    if (fiber.done || fiber.blocked()) return false;
    place.thread = thread;
    place.slots = own_warp().slots;
    if (!__builtin_setjmp(machine.scheduler)) {
        if (fiber.started) go(fiber.place);
        fiber.started = true;
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = fiber.stack.get();
        context.uc_stack.ss_size = STACK_BYTES;
        context.uc_link = nullptr;
        makecontext(&context, begin_fiber, 0);
        setcontext(&context);
    }
    return true;
}

static bool turn(int schedule, std::vector<unsigned>& order, std::mt19937& random) {
    bool any = false;
    if (schedule < WARP_BY_WARP) {
        if (schedule > 1) std::shuffle(order.begin(), order.end(), random);
        for (size_t i = 0; i < order.size(); i++) any |= run(order[i]);
        return any;
    }
    const unsigned n_warps = machine.warps.size(), first = random() % n_warps;
    for (unsigned w = 0; w < n_warps; w++) {
        const unsigned begin = (first + w) % n_warps * WARP_SIZE;
        const unsigned end = std::min(place.block_size, begin + WARP_SIZE);
        for (bool again = true; again; any |= again) {
            again = false;
            for (unsigned thread = begin; thread < end; thread++) again |= run(thread);
        }
    }
    return any;
}

static void run_block(unsigned block, unsigned shared_bytes, int schedule, std::mt19937& random) {
    Machine& m = machine;
    place.block = block;
    m.live = place.block_size;
    m.barrier = {place.block_size};
    m.warps.assign((place.block_size + WARP_SIZE - 1) / WARP_SIZE, {});
    for (unsigned thread = 0; thread < place.block_size; thread++) {
        m.warps[thread / WARP_SIZE].barrier.members++;
        m.fibers[thread].done = false;
        m.fibers[thread].waits_at = nullptr;
    }
    // Exactly as much as was asked for, so that a sanitizer sees what is beyond; every byte of it part of a NaN.
    m.shared.reset(new unsigned char[shared_bytes]);
    std::memset(m.shared.get(), 0xff, shared_bytes);
    place.shared = m.shared.get();
    std::vector<unsigned> order(place.block_size);
    for (unsigned i = 0; i < place.block_size; i++) order[i] = schedule == 1 ? place.block_size - 1 - i : i;
    while (m.live)
        if (!turn(schedule, order, random)) {
            std::fprintf(stderr, "deadlock: %u threads of block %u wait for ever\n", m.live, block);
            std::abort();
        }
}

void launch(
    void (*call)(void (*)(), void**), void (*kernel)(), void** arguments, unsigned grid, unsigned block,
    unsigned shared_bytes, int schedule
) {
    place.grid = grid;
    place.block_size = block;
    machine.kernel = [=] { call(kernel, arguments); };
    if (machine.fibers.size() < block) machine.fibers = std::vector<Fiber>(block);
    std::mt19937 random(schedule);
    std::vector<unsigned> blocks(grid);
    for (unsigned i = 0; i < grid; i++) blocks[i] = schedule == 1 ? grid - 1 - i : i;
    if (schedule > 1) std::shuffle(blocks.begin(), blocks.end(), random);
    for (unsigned block_number : blocks) run_block(block_number, shared_bytes, schedule, random);
}

}  // namespace shim
