// The fields of a message: in the order in which they came, found by name without regard to case.
//
//     fields f;
//     f.add("Content-Type", "text/plain");
//     if (auto type = f.find("content-type")) ...
//     for (const field& each : f) log(each.name, each.value);
//
// All text lies in one string, so that a message costs two allocations however many fields it has: both from
// the pool that coroutine frames come from, so that a warm server makes none.
#pragma once

#include <tapir/framework/frame_pool.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tapir::http {

/// A view into the fields it came from, valid until they change.
struct field {
    field(std::string_view n, std::string_view v) : name(n), value(v) {}
    std::string_view name;
    std::string_view value;
};

class fields {
  public:
    /// Throws std::invalid_argument for a name that is no token, or a value with a CR, LF or another control
    /// character: a value taken from a request must never be able to split a response in two.
    void add(std::string_view name, std::string_view value);
    /// The same for what a parser has found to be a token, and free of controls.
    void add_checked(std::string_view name, std::string_view value);
    /// Replaces every field of that name.
    void set(std::string_view name, std::string_view value);
    /// Returns how many there were.
    std::size_t remove(std::string_view name);
    /// Keeps the memory.
    void clear();
    /// Of memory, used or kept.
    std::size_t held_bytes() const { return text_.capacity() + entries_.capacity() * sizeof(entry); }

    /// The first of that name.
    std::optional<std::string_view> find(std::string_view name) const;
    std::size_t count(std::string_view name) const;
    /// Whether one of the comma-separated members of the fields of that name is `token`, without regard to
    /// case: has_token("Connection", "close").
    bool has_token(std::string_view name, std::string_view token) const;

    std::size_t size() const { return entries_.size(); }
    bool empty() const { return entries_.empty(); }
    field operator[](std::size_t i) const { return at(entries_[i]); }

    class iterator {
      public:
        iterator(const fields* of, std::size_t i) : of_(of), i_(i) {}
        field operator*() const { return (*of_)[i_]; }
        iterator& operator++() {
            ++i_;
            return *this;
        }
        bool operator==(const iterator& other) const { return i_ == other.i_; }

      private:
        const fields* of_;
        std::size_t i_;
    };
    iterator begin() const { return {this, 0}; }
    iterator end() const { return {this, entries_.size()}; }

  private:
    struct entry {
        std::uint32_t begin;
        std::uint32_t name_size;
        std::uint32_t value_size;
    };
    field at(const entry& e) const {
        const std::string_view text = text_;
        return {text.substr(e.begin, e.name_size), text.substr(e.begin + e.name_size, e.value_size)};
    }
    std::basic_string<char, std::char_traits<char>, pool_allocator<char>> text_;
    std::vector<entry, pool_allocator<entry>> entries_;
};

namespace detail {
bool equal_without_case(const char* a, const char* b, std::size_t size);
} // namespace detail

/// ASCII, as field names and tokens are compared.
inline bool equal_without_case(std::string_view a, std::string_view b) { // most are of different lengths
    return a.size() == b.size() && detail::equal_without_case(a.data(), b.data(), a.size());
}
/// RFC 9110 5.6.2.
bool is_token(std::string_view text);
/// Without leading and trailing spaces and tabs.
std::string_view trimmed(std::string_view text);

} // namespace tapir::http
