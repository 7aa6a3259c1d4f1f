#include <tapir/protocols/http/date.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

namespace tapir::http {
namespace {

using namespace std::chrono;

constexpr std::array<std::string_view, 7> day_names = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 7> long_day_names = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                            "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> month_names = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void append_number(std::string& out, unsigned value, int width) {
    const std::string digits = std::to_string(value);
    for (int i = static_cast<int>(digits.size()); i < width; ++i) out += '0';
    out += digits;
}

/// Takes the parts of a date from the front of a text; after the first that does not fit, all fail.
class reader {
  public:
    explicit reader(std::string_view text) : text_(text) {}

    void skip(std::string_view expected) {
        if (!text_.starts_with(expected)) return fail();
        text_.remove_prefix(expected.size());
    }
    int number(std::size_t width, bool space_padded = false) {
        if (text_.size() < width) {
            fail();
            return 0;
        }
        int value = 0;
        for (std::size_t i = 0; i < width; ++i) {
            const char c = text_[i];
            if (space_padded && i == 0 && c == ' ') continue;
            if (c < '0' || c > '9') {
                fail();
                return 0;
            }
            value = value * 10 + (c - '0');
        }
        text_.remove_prefix(width);
        return value;
    }
    template <std::size_t N>
    unsigned one_of(const std::array<std::string_view, N>& names) {
        for (unsigned i = 0; i < N; ++i) {
            if (!text_.starts_with(names[i])) continue;
            text_.remove_prefix(names[i].size());
            return i;
        }
        fail();
        return 0;
    }
    bool finished() const { return good_ && text_.empty(); }

  private:
    void fail() {
        good_ = false;
        text_ = {};
    }
    std::string_view text_;
    bool good_ = true;
};

struct parts {
    int y = 0;
    unsigned mon = 0;
    int d = 0;
    int h = 0;
    int min = 0;
    int s = 0;
};

std::optional<unix_seconds> to_seconds(const parts& p) {
    const year_month_day date(year(p.y), month(p.mon + 1), day(static_cast<unsigned>(p.d)));
    if (!date.ok() || p.h > 23 || p.min > 59 || p.s > 60) return std::nullopt;
    const seconds since = sys_days(date).time_since_epoch() + hours(p.h) + minutes(p.min) + seconds(p.s);
    return since.count();
}

void read_time(reader& in, parts& p) {
    p.h = in.number(2);
    in.skip(":");
    p.min = in.number(2);
    in.skip(":");
    p.s = in.number(2);
}

/// "Sun, 06 Nov 1994 08:49:37 GMT"
bool read_imf_fixdate(std::string_view text, parts& p) {
    reader in(text);
    in.one_of(day_names);
    in.skip(", ");
    p.d = in.number(2);
    in.skip(" ");
    p.mon = in.one_of(month_names);
    in.skip(" ");
    p.y = in.number(4);
    in.skip(" ");
    read_time(in, p);
    in.skip(" GMT");
    return in.finished();
}

/// "Sunday, 06-Nov-94 08:49:37 GMT"; the year is left with two digits.
bool read_rfc850(std::string_view text, parts& p) {
    reader in(text);
    in.one_of(long_day_names);
    in.skip(", ");
    p.d = in.number(2);
    in.skip("-");
    p.mon = in.one_of(month_names);
    in.skip("-");
    p.y = in.number(2);
    in.skip(" ");
    read_time(in, p);
    in.skip(" GMT");
    return in.finished();
}

/// "Sun Nov  6 08:49:37 1994"
bool read_asctime(std::string_view text, parts& p) {
    reader in(text);
    in.one_of(day_names);
    in.skip(" ");
    p.mon = in.one_of(month_names);
    in.skip(" ");
    p.d = in.number(2, true);
    in.skip(" ");
    read_time(in, p);
    in.skip(" ");
    p.y = in.number(4);
    return in.finished();
}

} // namespace

std::string format_date(unix_seconds t) {
    constexpr unix_seconds first = -62'167'219'200; // 0000-01-01
    constexpr unix_seconds last = 253'402'300'799;  // 9999-12-31 23:59:59
    const sys_seconds at{seconds(std::clamp(t, first, last))};
    const sys_days days = floor<std::chrono::days>(at);
    const year_month_day date(days);
    const hh_mm_ss<seconds> of_day(at - days);
    std::string out;
    out.reserve(29);
    out += day_names[weekday(days).c_encoding()];
    out += ", ";
    append_number(out, static_cast<unsigned>(date.day()), 2);
    out += ' ';
    out += month_names[static_cast<unsigned>(date.month()) - 1];
    out += ' ';
    append_number(out, static_cast<unsigned>(static_cast<int>(date.year())), 4);
    out += ' ';
    append_number(out, static_cast<unsigned>(of_day.hours().count()), 2);
    out += ':';
    append_number(out, static_cast<unsigned>(of_day.minutes().count()), 2);
    out += ':';
    append_number(out, static_cast<unsigned>(of_day.seconds().count()), 2);
    out += " GMT";
    return out;
}

std::optional<unix_seconds> parse_date(std::string_view text, unix_seconds now) {
    parts p;
    if (read_imf_fixdate(text, p) || read_asctime(text, p)) return to_seconds(p);
    if (!read_rfc850(text, p)) return std::nullopt;
    // [RFC 9110 5.6.7] more than 50 years in the future: the most recent year in the past with these digits
    const year_month_day today(floor<days>(sys_seconds(seconds(now))));
    const int this_year = static_cast<int>(today.year());
    p.y += this_year - this_year % 100;
    if (p.y > this_year + 50) p.y -= 100;
    return to_seconds(p);
}

} // namespace tapir::http
