// Vocabularies in Python: _core.Strings, _core.Merges.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "merges.h"
#include "vocabulary.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heron {
namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A str's characters as UTF-8 at the end of `out`: Python's own conversion would keep what it makes with the str.
void append_utf8(std::string& out, nb::handle text) {
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text.ptr());
    const int kind = PyUnicode_KIND(text.ptr());
    const void* data = PyUnicode_DATA(text.ptr());
    if (PyUnicode_IS_ASCII(text.ptr())) {
        out.append(static_cast<const char*>(data), static_cast<std::size_t>(length));
        return;
    }
    const auto put = [&](Py_UCS4 byte) { out.push_back(static_cast<char>(byte)); };
    for (Py_ssize_t i = 0; i < length; ++i) {
        const Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (c < 0x80) {
            put(c);
            continue;
        }
        if (c < 0x800) {
            put(0xC0 | c >> 6);
        } else {
            if (c < 0x10000) {
                put(0xE0 | c >> 12);
            } else {
                put(0xF0 | c >> 18);
                put(0x80 | (c >> 12 & 0x3F));
            }
            put(0x80 | (c >> 6 & 0x3F));
        }
        put(0x80 | (c & 0x3F));
    }
}

void new_merges(Merges* self, const nb::dict& vocabulary, const nb::list& merges, bool ignore_merges, bool byte_fallback) {
    new (self) Merges(ignore_merges, byte_fallback);
    self->reserve(vocabulary.size(), merges.size(), 8 * vocabulary.size());
    std::string text;
    for (const auto& [token, id] : vocabulary) {
        if (!PyUnicode_Check(token.ptr())) throw nb::type_error("a token is no str");
        text.clear();
        append_utf8(text, token);
        self->add_token(text, nb::cast<std::int32_t>(id));
    }
    std::int64_t rank = 0;
    for (const nb::handle merge : merges) {
        if (!PyUnicode_Check(merge.ptr())) throw nb::type_error("a merge is no str");
        text.clear();
        append_utf8(text, merge);
        if (!self->add_merge(text)) throw nb::index_error(std::to_string(rank).c_str());
        ++rank;
    }
}

nb::list encode(const Merges& self, const nb::list& words) {
    std::string text;
    std::vector<std::int32_t> ids;
    for (const nb::handle word : words) {
        if (!PyUnicode_Check(word.ptr())) throw nb::type_error("a word is no str");
        text.clear();
        append_utf8(text, word);
        self.encode(text, ids);
    }
    nb::list all;
    for (const std::int32_t id : ids) all.append(id);
    return all;
}

nb::str str_of(std::string_view text) { return nb::str(text.data(), text.size()); }

// The ids, in order, at which any of these texts stands.
std::vector<std::size_t> find(const Strings& strings, const std::vector<std::string>& texts) {
    const std::set<std::string_view> wanted(texts.begin(), texts.end());
    std::vector<std::size_t> ids;
    for (std::size_t i = 0; i < strings.size(); ++i) {
        if (wanted.contains(strings[i])) ids.push_back(i);
    }
    return ids;
}

void new_stored_merges(Merges* self, const Strings& tokens, Bytes usable, const std::vector<std::string>& left_out, const Strings& merges,
                       bool ignore_merges, bool byte_fallback) {
    if (usable.size() != tokens.size()) throw nb::value_error("usable must have an entry for each token");
    new (self) Merges(ignore_merges, byte_fallback);
    self->reserve(tokens.size(), merges.size(), tokens.stored_bytes());
    const std::set<std::string_view> out(left_out.begin(), left_out.end());
    std::int64_t bad = -1;
    {
        const nb::gil_scoped_release unlocked;
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            if (usable.data()[i] && !out.contains(tokens[i])) self->add_token(tokens[i], static_cast<std::int32_t>(i));
        }
        for (std::size_t i = 0; i < merges.size() && bad < 0; ++i) {
            if (!self->add_merge(merges[i])) bad = static_cast<std::int64_t>(i);
        }
    }
    if (bad >= 0) throw nb::index_error(std::to_string(bad).c_str());
}

}  // namespace

void bind_text(nb::module_& m) {
    nb::class_<Merges>(m, "Merges", "A vocabulary's merges: csrc/merges.h.")
        .def("__init__", new_merges, "vocabulary"_a, "merges"_a, "ignore_merges"_a, "byte_fallback"_a,
             "`merges` are pairs \"left right\", best first. IndexError, with its number, for one that is no pair.")
        .def("__init__", new_stored_merges, "tokens"_a, "usable"_a.noconvert(), "left_out"_a, "merges"_a, "ignore_merges"_a, "byte_fallback"_a,
             "Of a file's tokens those that are `usable`, uint8 [tokens], without the texts that are left out.")
        .def("__len__", &Merges::size, "Merges whose parts, and what they make, are tokens.")
        .def("encode", encode, "words"_a, "The ids of these words, one after another.");
    nb::class_<Strings>(m, "Strings", "Many strings, as a GGUF file stores them: csrc/vocabulary.h.")
        .def_static("read", [](Bytes data, std::size_t at, std::size_t count, bool big_endian) {
            return Strings::read(data.data(), data.size(), at, count, big_endian);
        }, "data"_a.noconvert(), "at"_a, "count"_a, "big_endian"_a, "Those at byte `at`; None where they are damaged.")
        .def("__len__", &Strings::size)
        .def("__getitem__", [](const Strings& s, std::size_t i) {
            if (i >= s.size()) throw nb::index_error();
            return str_of(s[i]);
        })
        .def("all", [](const Strings& s) {
            nb::list all;
            for (std::size_t i = 0; i < s.size(); ++i) all.append(str_of(s[i]));
            return all;
        })
        .def("find", find, "texts"_a, "The ids, in order, at which any of these texts stands.")
        .def_prop_ro("stored_bytes", &Strings::stored_bytes, "Bytes that they take in the file.");
}

}  // namespace heron
