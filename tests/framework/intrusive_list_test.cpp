#include <tapir/framework/intrusive_list.hpp>

#include <doctest/doctest.h>

#include <string>

using tapir::intrusive_list;
using tapir::list_hook;

namespace {

struct letter : list_hook<> {
    explicit letter(char what) : c(what) {}
    char c;
};

std::string text(intrusive_list<letter>& l) {
    std::string all;
    for (const letter& each : l) all += each.c;
    std::string backwards;
    while (!l.empty()) {
        backwards.insert(backwards.begin(), l.back().c);
        l.back().unlink();
    }
    CHECK(backwards == all);
    return all;
}

} // namespace

TEST_CASE("intrusive list: splicing moves all, in order, and leaves a list that can be used") {
    letter a('a'), b('b'), c('c'), d('d');
    intrusive_list<letter> left, right;

    left.splice_back(right);
    CHECK((left.empty() && right.empty()));

    right.push_back(a);
    left.splice_back(right); // into an empty one
    CHECK((right.empty() && a.linked()));
    left.splice_back(right); // nothing
    right.push_back(b);
    right.push_back(c);
    left.splice_back(right);
    CHECK(right.empty());
    right.push_back(d);
    CHECK(text(left) == "abc");
    CHECK(text(right) == "d");
    CHECK_FALSE((a.linked() || b.linked() || c.linked() || d.linked()));
}

TEST_CASE("intrusive list: an element that has been spliced leaves by itself") {
    intrusive_list<letter> to;
    {
        intrusive_list<letter> from;
        letter a('a'), b('b');
        from.push_back(a);
        {
            letter gone('x');
            from.push_back(gone);
            from.push_back(b);
            to.splice_back(from);
        }
        CHECK(text(to) == "ab");
    }
    CHECK(to.empty());
}
