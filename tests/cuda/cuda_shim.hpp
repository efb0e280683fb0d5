// CUDA on a CPU, for tests: what a kernel is compiled with; cuda_shim.cpp runs it, compiled once and for all.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint4 { unsigned x, y, z, w; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace shim {

constexpr unsigned WARP_SIZE = 32;

// The thread that runs, and where it is.
struct Place {
    unsigned grid, block_size, block, thread;
    unsigned char* shared;
    // Of the threads of its warp, what they hand to each other.
    uint64_t* slots;
};
extern Place place;

void wait_for_block();
void wait_for_warp();
void launch(
    void (*call)(void (*)(), void**), void (*kernel)(), void** arguments, unsigned grid, unsigned block,
    unsigned shared_bytes, int schedule
);

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<P>*>(arguments[I])...);
}

// Of a kernel, what calls it with arguments by their addresses.
template <class... P> auto caller(void (*)(P...)) {
    return [](void (*kernel)(), void** arguments) {
        call(reinterpret_cast<void (*)(P...)>(kernel), arguments, std::index_sequence_for<P...>{});
    };
}

template <class T> T shuffled(T value, unsigned source) {
    std::memcpy(&place.slots[place.thread % WARP_SIZE], &value, sizeof value);
    wait_for_warp();
    std::memcpy(&value, &place.slots[source % WARP_SIZE], sizeof value);
    wait_for_warp();
    return value;
}

inline float from_half(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? std::ldexp((float)fraction, -24)
                                       : std::ldexp((float)(fraction + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

struct Index { const unsigned& x; };

}  // namespace shim

inline const shim::Index threadIdx{shim::place.thread};
inline const shim::Index blockIdx{shim::place.block};
inline const shim::Index blockDim{shim::place.block_size};
inline const shim::Index gridDim{shim::place.grid};

inline void __syncthreads() { shim::wait_for_block(); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return shim::shuffled(value, shim::place.thread % shim::WARP_SIZE ^ mask);
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

#define SHARED_MEMORY(type, name) type* name = reinterpret_cast<type*>(shim::place.shared)
#define EXPORT(name)                                                                                                   \
    extern "C" void on_cpu_##name(unsigned grid, unsigned block, unsigned shared_bytes, int schedule, void** arguments) { \
        shim::launch(                                                                                                  \
            shim::caller(name), reinterpret_cast<void (*)()>(name), arguments, grid, block, shared_bytes, schedule     \
        );                                                                                                             \
    }
