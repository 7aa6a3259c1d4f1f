// One line from a client (RFC 5321 4.1): the verb, and what stands behind it.
//
//     const auto c = smtp::parse_command("MAIL FROM:<a@example.org> SIZE=1000");
//     if (c.verb == smtp::verb::mail) auto path = smtp::parse_path(c.argument, "FROM:", limits);
#pragma once

#include <tapir/protocols/smtp/config.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tapir::smtp {

enum class verb : std::uint8_t {
    ehlo,
    helo,
    mail,
    rcpt,
    data,
    rset,
    noop,
    vrfy,
    quit,
    help,
    not_implemented, ///< known, but not here: EXPN, STARTTLS, AUTH, BDAT ...: 502
    unknown,         ///< 500
};

struct command {
    command(smtp::verb v, std::string_view a) : verb(v), argument(a) {}
    smtp::verb verb;
    std::string_view argument; ///< behind the blanks after the verb, without those at the end
};

/// `line` comes without its CRLF. Verbs may be in any case. [RFC 5321 2.4]
command parse_command(std::string_view line);

struct parameter {
    parameter(std::string k, std::string v) : keyword(std::move(k)), value(std::move(v)) {}
    std::string keyword; ///< in upper case
    std::string value;   ///< empty without "="
};

struct path {
    path() = default;
    std::string mailbox; ///< "local@domain", "Postmaster", or empty for <>
    std::vector<parameter> parameters;
};

/// The argument of MAIL (`prefix` "FROM:") or RCPT ("TO:"). A source route in it is dropped
/// [RFC 5321 4.1.1.3]. Nothing if it breaks the grammar or a limit.
std::optional<path> parse_path(std::string_view argument, std::string_view prefix, const config& limits);

/// Whether the two are the same but for the case of ASCII letters.
bool same_but_case(std::string_view a, std::string_view b);

} // namespace tapir::smtp
