// Byte-pair encoding: a word's characters are merged, pair by pair, in the order of a list of merges.
//
// Tables of a vocabulary of 128 thousand tokens and 280 thousand merges are made in some 50 ms, so that they are not
// worth keeping on disk: open addressing, and texts in one piece of memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heron {

class Merges {
public:
    // `ignore_merges`: a word that is a token is that token, whatever the merges say. `byte_fallback`: a character that is
    // no token becomes its bytes' tokens, <0x00> to <0xFF>, if the vocabulary has them; otherwise it is dropped.
    Merges(bool ignore_merges, bool byte_fallback) : ignore_merges_(ignore_merges), byte_fallback_(byte_fallback) {}

    // First all tokens (of `count`), then merges, best first. Of several tokens with one text the first counts.
    void reserve(std::size_t tokens, std::size_t merges, std::size_t bytes);
    void add_token(std::string_view text, std::int32_t id);
    // False where it has no two parts. A pair that is known, or has or makes no token, changes nothing.
    bool add_merge(std::string_view left_and_right);

    std::size_t size() const { return count_; }  // merges that may apply

    void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

private:
    static constexpr std::int32_t NONE = -1;
    struct Token {
        std::uint32_t offset, length;
        std::int32_t id = NONE;
    };
    struct Merge {
        std::int32_t left = NONE, right, rank, made;
    };

    const Token* token_at(std::string_view text) const;
    std::int32_t find(std::string_view text) const;
    const Merge* find(std::int32_t left, std::int32_t right) const;
    std::vector<std::int32_t> characters(std::string_view word) const;

    bool ignore_merges_, byte_fallback_;
    std::string texts_;
    std::vector<Token> tokens_;  // a power of two
    std::vector<Merge> merges_;  // a power of two
    std::size_t count_ = 0;
};

}  // namespace heron
