// HTTP's dates, against the examples of the RFC and the calendar's corners.
#include <tapir/protocols/http/date.hpp>

#include <doctest/doctest.h>

using namespace tapir::http;

namespace {
constexpr unix_seconds example = 784111777; // 1994-11-06 08:49:37
constexpr unix_seconds in_2026 = 1'795'000'000;
} // namespace

TEST_CASE("http date: the form that is sent, with the calendar's corners") {
    CHECK(format_date(example) == "Sun, 06 Nov 1994 08:49:37 GMT"); // [RFC 9110 5.6.7]
    CHECK(format_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
    CHECK(format_date(-1) == "Wed, 31 Dec 1969 23:59:59 GMT");
    CHECK(format_date(951'782'400) == "Tue, 29 Feb 2000 00:00:00 GMT");
    CHECK(format_date(4'107'542'400) == "Mon, 01 Mar 2100 00:00:00 GMT"); // 2100 is no leap year
    CHECK(format_date(INT64_MAX) == "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST_CASE("http date: all three forms are read") {
    // [RFC 9110 5.6.7]
    CHECK(parse_date("Sun, 06 Nov 1994 08:49:37 GMT", in_2026) == example);
    CHECK(parse_date("Sunday, 06-Nov-94 08:49:37 GMT", in_2026) == example);
    CHECK(parse_date("Sun Nov  6 08:49:37 1994", in_2026) == example);
    CHECK(parse_date("Sun Nov 16 08:49:37 1994", in_2026) == example + 864'000);
}

TEST_CASE("http date: two-digit years lie at most 50 years ahead") {
    CHECK(parse_date("Monday, 06-Nov-76 00:00:00 GMT", in_2026) ==
          parse_date("Mon, 06 Nov 2076 00:00:00 GMT", in_2026));
    CHECK(parse_date("Monday, 06-Nov-77 00:00:00 GMT", in_2026) ==
          parse_date("Mon, 06 Nov 1977 00:00:00 GMT", in_2026));
}

TEST_CASE("http date: what is no date is none") {
    for (const char* bad :
         {"", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
          "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT",
          "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ",
          "Sun, -6 Nov 1994 08:49:37 GMT"}) {
        INFO(bad);
        CHECK_FALSE(parse_date(bad, in_2026));
    }
}
