// Vocabularies in Python: _core.Merges, and arrays of strings out of a GGUF file's bytes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <bit>
#include <cstring>
#include <optional>

#include "merges.h"

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

// `count` strings from `at` on, each a length of 8 bytes and that many of UTF-8, and where they end; nothing for what is not so.
std::optional<nb::tuple> read_strings(Bytes data, std::size_t at, std::size_t count, bool big_endian) {
    const std::size_t size = data.size();
    if (at > size || count > (size - at) / 8) return std::nullopt;
    const bool swap = big_endian == (std::endian::native == std::endian::little);
    nb::list all = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(count)));
    for (std::size_t i = 0; i < count; ++i) {
        std::uint8_t bytes[8];
        if (size - at < 8) return std::nullopt;
        for (std::size_t b = 0; b < 8; ++b) bytes[swap ? 7 - b : b] = data.data()[at + b];
        std::uint64_t length;
        std::memcpy(&length, bytes, 8);
        at += 8;
        if (length > size - at) return std::nullopt;
        PyObject* text = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(data.data() + at), static_cast<Py_ssize_t>(length), "strict");
        if (!text) {
            PyErr_Clear();
            return std::nullopt;
        }
        PyList_SET_ITEM(all.ptr(), static_cast<Py_ssize_t>(i), text);
        at += length;
    }
    return nb::make_tuple(all, at);
}

}  // namespace

void bind_text(nb::module_& m) {
    nb::class_<Merges>(m, "Merges", "A vocabulary's merges: csrc/merges.h.")
        .def("__init__", new_merges, "vocabulary"_a, "merges"_a, "ignore_merges"_a, "byte_fallback"_a,
             "`merges` are pairs \"left right\", best first. IndexError, with its number, for one that is no pair.")
        .def("__len__", &Merges::size, "Merges whose parts, and what they make, are tokens.")
        .def("encode", encode, "words"_a, "The ids of these words, one after another.");
    m.def("read_strings", read_strings, "data"_a.noconvert(), "at"_a, "count"_a, "big_endian"_a,
          "(strings, where they end) of a GGUF array in these bytes; None where it is damaged.");
}

}  // namespace heron
