// Many strings as a GGUF file stores them: checked, kept in one piece, and made into objects one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace heron {

class Strings {
public:
    // `count` strings from `at` on in `size` bytes: each a length of 8 bytes, and that many bytes of UTF-8.
    // Nothing if they reach beyond the end, or are not UTF-8.
    static std::optional<Strings> read(const std::uint8_t* data, std::size_t size, std::size_t at, std::size_t count, bool big_endian);

    std::size_t size() const { return starts_.size() - 1; }
    std::size_t stored_bytes() const { return text_.size() + 8 * size(); }  // in the file
    std::string_view operator[](std::size_t i) const { return std::string_view(text_).substr(starts_[i], starts_[i + 1] - starts_[i]); }

private:
    std::string text_;
    std::vector<std::uint32_t> starts_{0};
};

// Whether Python would decode it: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace heron
