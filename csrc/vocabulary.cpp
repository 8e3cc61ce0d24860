#include "vocabulary.h"

#include <bit>
#include <cstring>
#include <limits>

namespace heron {

bool is_utf8(std::string_view text) {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data());
    const unsigned char* const end = at + text.size();
    while (at < end) {
        const unsigned char first = *at++;
        if (first < 0x80) continue;
        if (first < 0xC2 || first > 0xF4) return false;
        const int more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
        if (end - at < more) return false;
        // The second byte's range keeps out overlong forms, surrogates, and what lies beyond the last character.
        const unsigned char least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80, most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (at[0] < least || at[0] > most) return false;
        for (int i = 1; i < more; ++i) {
            if ((at[i] & 0xC0) != 0x80) return false;
        }
        at += more;
    }
    return true;
}

std::optional<Strings> Strings::read(const std::uint8_t* data, std::size_t size, std::size_t at, std::size_t count, bool big_endian) {
    if (at > size || count > (size - at) / 8) return std::nullopt;
    const bool swap = big_endian == (std::endian::native == std::endian::little);
    Strings strings;
    strings.starts_.reserve(count + 1);
    for (std::size_t i = 0; i < count; ++i) {
        if (size - at < 8) return std::nullopt;
        std::uint8_t bytes[8];
        for (std::size_t b = 0; b < 8; ++b) bytes[swap ? 7 - b : b] = data[at + b];
        std::uint64_t length;
        std::memcpy(&length, bytes, 8);
        at += 8;
        if (length > size - at || length > std::numeric_limits<std::uint32_t>::max() - strings.text_.size()) return std::nullopt;
        const std::string_view text(reinterpret_cast<const char*>(data + at), static_cast<std::size_t>(length));
        if (!is_utf8(text)) return std::nullopt;
        strings.text_.append(text);
        strings.starts_.push_back(static_cast<std::uint32_t>(strings.text_.size()));
        at += text.size();
    }
    strings.text_.shrink_to_fit();
    return strings;
}

}  // namespace heron
