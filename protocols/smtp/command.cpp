#include <tapir/protocols/smtp/command.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace tapir::smtp {

namespace {

char upper(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (upper(c) >= 'A' && upper(c) <= 'Z');
}
/// [RFC 5322 3.2.3]
bool is_atext(char c) {
    return is_alphanumeric(c) || std::string_view("!#$%&'*+-/=?^_`{|}~").find(c) != std::string_view::npos;
}
bool is_printable(char c) {
    return c >= ' ' && c <= '~';
}

/// Dot-string: atoms with single dots between them.
bool is_dot_string(std::string_view s) {
    bool after_dot = true;
    for (const char c : s) {
        if (c == '.' ? after_dot : !is_atext(c)) return false;
        after_dot = c == '.';
    }
    return !after_dot;
}

bool is_quoted_string(std::string_view s) {
    if (s.size() < 2 || s.front() != '"' || s.back() != '"') return false;
    s = s.substr(1, s.size() - 2);
    for (std::size_t i = 0; i < s.size(); ++i) {
        const bool escaped = s[i] == '\\';
        if (escaped && ++i == s.size()) return false;
        if (!is_printable(s[i]) || (s[i] == '"' && !escaped)) return false;
    }
    return true;
}

/// Labels of letters, digits and inner hyphens; or an address literal. [RFC 5321 4.1.2]
bool is_domain(std::string_view s) {
    if (s.starts_with('[')) {
        const std::string_view inside = s.substr(1, s.size() - 2);
        return s.size() > 2 && s.ends_with(']') && std::ranges::all_of(inside, [](char c) {
                   return is_printable(c) && c != ' ' && c != '[' && c != ']' && c != '\\';
               });
    }
    char before = '.';
    for (const char c : s) {
        if (c == '.' || c == '-') {
            if (before == '.' || (c == '.' && before == '-')) return false;
        } else if (!is_alphanumeric(c)) {
            return false;
        }
        before = c;
    }
    return is_alphanumeric(before);
}

bool is_mailbox(std::string_view s, const config& limits) {
    const std::size_t at = s.rfind('@'); // a domain has none
    if (at == std::string_view::npos) return false;
    const std::string_view local = s.substr(0, at);
    const std::string_view domain = s.substr(at + 1);
    return local.size() <= limits.local_part_bytes && domain.size() <= limits.domain_bytes &&
           (is_dot_string(local) || is_quoted_string(local)) && is_domain(domain);
}

/// Where the path that begins with '<' ends: behind the '>' that stands in no quotes.
std::size_t end_of_path(std::string_view s) {
    bool quoted = false;
    for (std::size_t i = 1; i < s.size(); ++i) {
        if (quoted && s[i] == '\\') {
            ++i;
        } else if (s[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && s[i] == '>') {
            return i + 1;
        }
    }
    return std::string_view::npos;
}

/// "@one,@two:user@three" -> "user@three"
std::string_view without_source_route(std::string_view s) {
    const std::size_t colon = s.starts_with('@') ? s.find(':') : std::string_view::npos;
    return colon == std::string_view::npos ? s : s.substr(colon + 1);
}

} // namespace

bool same_but_case(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, {}, upper, upper);
}

command parse_command(std::string_view line) {
    static constexpr std::array<std::pair<std::string_view, verb>, 19> verbs = {{
        {"EHLO", verb::ehlo},
        {"HELO", verb::helo},
        {"MAIL", verb::mail},
        {"RCPT", verb::rcpt},
        {"DATA", verb::data},
        {"RSET", verb::rset},
        {"NOOP", verb::noop},
        {"VRFY", verb::vrfy},
        {"QUIT", verb::quit},
        {"HELP", verb::help},
        {"EXPN", verb::not_implemented},
        {"STARTTLS", verb::not_implemented},
        {"AUTH", verb::not_implemented},
        {"BDAT", verb::not_implemented},
        {"ETRN", verb::not_implemented},
        {"TURN", verb::not_implemented},
        {"SEND", verb::not_implemented},
        {"SOML", verb::not_implemented},
        {"SAML", verb::not_implemented},
    }};
    const std::size_t blank = std::min(line.find(' '), line.size());
    const std::string_view name = line.substr(0, blank);
    std::string_view argument = line.substr(blank);
    while (argument.starts_with(' ')) argument.remove_prefix(1);
    while (argument.ends_with(' ') || argument.ends_with('\t')) argument.remove_suffix(1);
    const auto known =
        std::ranges::find_if(verbs, [&](const auto& v) { return same_but_case(v.first, name); });
    return command(known == verbs.end() ? verb::unknown : known->second, argument);
}

std::optional<path> parse_path(std::string_view argument, std::string_view prefix, const config& limits) {
    if (!same_but_case(argument.substr(0, prefix.size()), prefix)) return std::nullopt;
    argument.remove_prefix(prefix.size());
    if (!argument.starts_with('<')) return std::nullopt;
    const std::size_t end = end_of_path(argument);
    if (end == std::string_view::npos || end - 2 > limits.path_bytes) return std::nullopt;
    path p;
    const std::string_view inside = without_source_route(argument.substr(1, end - 2));
    if (same_but_case(inside, "postmaster")) { // [RFC 5321 4.5.1]: without a domain, too
        p.mailbox = "Postmaster";
    } else if (!inside.empty() && !is_mailbox(inside, limits)) {
        return std::nullopt;
    } else {
        p.mailbox = inside;
    }
    // [RFC 5321 4.1.2]: esmtp-param *(SP esmtp-param)
    std::string_view rest = argument.substr(end);
    while (!rest.empty()) {
        if (!rest.starts_with(' ')) return std::nullopt;
        rest.remove_prefix(1);
        const std::string_view one = rest.substr(0, rest.find(' '));
        rest.remove_prefix(one.size());
        const std::size_t equals = std::min(one.find('='), one.size());
        std::string keyword(one.substr(0, equals));
        std::ranges::transform(keyword, keyword.begin(), upper);
        const bool good = !keyword.empty() && is_alphanumeric(keyword.front()) &&
                          std::ranges::all_of(keyword, [](char c) { return is_alphanumeric(c) || c == '-'; });
        if (!good) return std::nullopt;
        p.parameters.emplace_back(std::move(keyword),
                                  std::string(one.substr(std::min(equals + 1, one.size()))));
    }
    return p;
}

} // namespace tapir::smtp
