// The options of an IPv4 header (RFC 791 3.1). This host acts on none: they are walked, so that nothing is
// believed that does not fit, and skipped; and when a packet that carries some is cut into fragments, those
// marked "copied" go into each of them.
//
//     if (ipv4::check_options(v.options()) != ipv4::options_are::fine) ...
#pragma once

#include <tapir/framework/bytes.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::ipv4 {

/// The header's length field has four bits: 15 words, five of which are no options.
inline constexpr std::size_t max_options = 40;

enum class options_are : std::uint8_t {
    fine,
    malformed,     ///< a length that does not fit
    source_routed, ///< loose or strict source route
};

/// What is unknown is skipped [RFC 1122 3.2.1.8].
options_are check_options(bytes options);

/// Writes the options of `options` that every fragment carries [RFC 791 3.1, the copied flag] to `out`, which
/// has room for max_options, filled up to whole words. Returns their bytes.
std::size_t copied_options(bytes options, mutable_bytes out);

} // namespace tapir::ipv4
