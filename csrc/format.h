// The formats of weights as files store them: blocks of a fixed number of elements in a fixed number of bytes.
#pragma once

#include <cstdint>

namespace heron {

// A field of a block, seen as `count` units of `size` bytes. Packing interleaves rows unit by unit (layout.h).
struct Field {
    int count, size;
};

struct Format {
    const char* name;
    int id;           // GGUF's number of the type; below 0 for those that no GGUF file has
    int block;        // elements in a block
    int bytes;        // bytes of a block
    Field fields[3];  // in the file's order
    void (*decode)(const std::uint8_t* block, float* out);  // one block -> `block` floats, bit for bit as ggml defines them
    // Puts a block's bits in the order that vectors unpack best, or back; null where the file's order is that.
    void (*rearrange)(std::uint8_t* block, bool back) = nullptr;

    std::int64_t row_bytes(std::int64_t k) const { return k / block * bytes; }
};

// Those that this build can decode; the last has no name.
extern const Format FORMATS[];

}  // namespace heron
