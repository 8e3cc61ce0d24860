#include "merges.h"

#include <bit>
#include <cstdio>
#include <functional>
#include <queue>

namespace heron {
namespace {

std::size_t hash_pair(std::int32_t left, std::int32_t right) {
    std::uint64_t x = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
    x *= 0x9E3779B97F4A7C15u;  // 2^64 / the golden ratio: neighbours are spread
    return static_cast<std::size_t>(x ^ (x >> 32));
}

// Bytes of the UTF-8 character that begins with `first`; text was valid when it came.
std::size_t character_length(char first) {
    const auto byte = static_cast<unsigned char>(first);
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace

void Merges::reserve(std::size_t tokens, std::size_t merges, std::size_t bytes) {
    tokens_.resize(std::bit_ceil(2 * tokens + 1));
    merges_.resize(std::bit_ceil(3 * merges / 2 + 2));
    texts_.reserve(bytes);
}

// Where the text is, or the empty place where it would be.
const Merges::Token* Merges::token_at(std::string_view text) const {
    const std::size_t mask = tokens_.size() - 1;
    for (std::size_t i = std::hash<std::string_view>{}(text) & mask;; i = (i + 1) & mask) {
        const Token& token = tokens_[i];
        if (token.id == NONE || std::string_view(texts_).substr(token.offset, token.length) == text) return &token;
    }
}

void Merges::add_token(std::string_view text, std::int32_t id) {
    Token& token = tokens_[static_cast<std::size_t>(token_at(text) - tokens_.data())];
    if (token.id != NONE) return;
    token = {static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(text.size()), id};
    texts_.append(text);
}

std::int32_t Merges::find(std::string_view text) const { return token_at(text)->id; }

const Merges::Merge* Merges::find(std::int32_t left, std::int32_t right) const {
    const std::size_t mask = merges_.size() - 1;
    for (std::size_t i = hash_pair(left, right) & mask;; i = (i + 1) & mask) {
        const Merge& merge = merges_[i];
        if (merge.left == NONE || (merge.left == left && merge.right == right)) return &merge;
    }
}

bool Merges::add_merge(std::string_view merge) {
    // A token that begins with a space is written as it is, and the separator is the next one.
    const std::size_t space = merge.find(' ', merge.starts_with(' ') ? 1 : 0);
    if (space == std::string_view::npos || space + 1 == merge.size()) return false;
    const std::int32_t left = find(merge.substr(0, space)), right = left == NONE ? NONE : find(merge.substr(space + 1));
    if (right == NONE) return true;
    std::string together(merge.substr(0, space));
    const std::int32_t made = find(together.append(merge.substr(space + 1)));
    if (made == NONE) return true;
    Merge& place = merges_[static_cast<std::size_t>(find(left, right) - merges_.data())];
    if (place.left == NONE) place = {left, right, static_cast<std::int32_t>(count_++), made};
    return true;
}

std::vector<std::int32_t> Merges::characters(std::string_view word) const {
    std::vector<std::int32_t> ids;
    for (std::size_t at = 0, length; at < word.size(); at += length) {
        length = character_length(word[at]);
        const std::int32_t id = find(word.substr(at, length));
        if (id != NONE) {
            ids.push_back(id);
        } else if (byte_fallback_) {
            const std::size_t before = ids.size();
            for (const char c : word.substr(at, length)) {
                char name[8];
                std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(static_cast<unsigned char>(c)));
                ids.push_back(find(name));
                if (ids.back() != NONE) continue;
                ids.resize(before);  // all bytes or none
                break;
            }
        }
    }
    return ids;
}

void Merges::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
    if (ignore_merges_) {
        const std::int32_t whole = find(word);
        if (whole != NONE) return ids.push_back(whole);
    }
    // What is left of the word is a list, linked in both directions; a part that was merged into its left neighbour is NONE.
    std::vector<std::int32_t> parts = characters(word);
    const auto count = static_cast<std::int32_t>(parts.size());
    std::vector<std::int32_t> next(parts.size()), previous(parts.size());
    struct Candidate {
        std::int32_t rank, at, made;
        bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
    };
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
    const auto consider = [&](std::int32_t at) {
        if (at < 0 || next[static_cast<std::size_t>(at)] >= count) return;
        const Merge* merge = find(parts[static_cast<std::size_t>(at)], parts[static_cast<std::size_t>(next[static_cast<std::size_t>(at)])]);
        if (merge->left != NONE) candidates.push({merge->rank, at, merge->made});
    };
    for (std::int32_t i = 0; i < count; ++i) next[static_cast<std::size_t>(i)] = i + 1, previous[static_cast<std::size_t>(i)] = i - 1;
    for (std::int32_t i = 0; i < count; ++i) consider(i);
    while (!candidates.empty()) {
        const Candidate best = candidates.top();
        candidates.pop();
        const auto at = static_cast<std::size_t>(best.at);
        if (parts[at] == NONE || next[at] >= count) continue;
        const auto right = static_cast<std::size_t>(next[at]);
        if (find(parts[at], parts[right])->left == NONE || find(parts[at], parts[right])->made != best.made) continue;  // merged otherwise since
        parts[at] = best.made, parts[right] = NONE;
        next[at] = next[right];
        if (next[at] < count) previous[static_cast<std::size_t>(next[at])] = best.at;
        consider(previous[at]);
        consider(best.at);
    }
    for (const std::int32_t part : parts) {
        if (part != NONE) ids.push_back(part);
    }
}

}  // namespace heron
