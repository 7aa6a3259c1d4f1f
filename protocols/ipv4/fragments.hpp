// A datagram that is larger than the link's MTU goes as several: each has the same identification, says where
// its part belongs, and is put together again by the destination (RFC 791 3.2).
//
//     ipv4::fragmenter parts(header, options, payload, mtu);
//     while (const auto p = parts.next()) p->emit(frame.push_back(p->size()));
//
// What is itself a fragment may be cut again: offsets count from the original datagram.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/options.hpp>

#include <array>
#include <cstddef>
#include <optional>

namespace tapir::ipv4 {

/// What every link carries [RFC 791 3.2]: the largest header and eight bytes.
inline constexpr std::size_t min_mtu = 68;

class fragmenter {
  public:
    /// `whole.dont_fragment` must not be set, and `mtu` be min_mtu at least. `options` and `payload` are
    /// borrowed.
    fragmenter(const header& whole, bytes options, bytes payload, std::size_t mtu);

    struct piece {
        header head;
        bytes options;
        bytes payload;
        std::size_t size() const { return header::size + options.size() + payload.size(); }
        /// Writes size() bytes at the front of `out`.
        void emit(mutable_bytes out) const;
    };
    /// The next one, valid until the call after it; nothing after the last.
    std::optional<piece> next();

  private:
    header whole_;
    bytes first_options_;
    bytes left_;
    std::size_t mtu_;
    std::size_t offset_ = 0; ///< of `left_` in the payload
    std::array<std::byte, max_options> later_options_{};
    std::size_t later_options_size_;
};

} // namespace tapir::ipv4
