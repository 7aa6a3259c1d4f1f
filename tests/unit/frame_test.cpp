#include <tapir/protocols/link/frame.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

using namespace tapir;

namespace {

/// "head", behind room for more, and a tail of two slices.
frame gathered(buffer_pool& pool) {
    frame f(pool.allocate(256), frame::default_headroom);
    copy_bytes(f.push_back(4), as_bytes("head"));
    f.share_back(chunk(pool.copy_of(as_bytes("xmiddlex")), 1, 6));
    f.share_back(chunk(pool.copy_of(as_bytes("end")), 0, 3));
    return f;
}

std::string text_of(bytes b) {
    return std::string(reinterpret_cast<const char*>(b.data()), b.size());
}

} // namespace

TEST_CASE("frame: its size counts the tail, its data does not") {
    buffer_pool pool;
    frame f = gathered(pool);
    CHECK(f.size() == 13);
    CHECK(text_of(f.data()) == "head");
    copy_bytes(f.push_front(2), as_bytes("a "));
    CHECK(f.size() == 15);
    CHECK(text_of(f.data()) == "a head");
    CHECK(f.tail().size() == 2);
}

TEST_CASE("frame: a copy is in one piece, with all that is said of it") {
    buffer_pool pool;
    frame f = gathered(pool);
    f.meta.gso_type = segmentation::tcp4;
    f.meta.gso_size = 9;
    f.arrived = instant{} + 5ms;
    const frame copy = f.copy(pool);
    CHECK(copy.tail().empty());
    CHECK(text_of(copy.data()) == "headmiddleend");
    CHECK(copy.size() == 13);
    CHECK(copy.headroom() == frame::default_headroom);
    CHECK(copy.meta.gso_size == 9);
    CHECK(copy.arrived == f.arrived);
    CHECK(text_of(std::move(f).in_one_piece(pool).data()) == "headmiddleend");
}

TEST_CASE("frame: one without a tail is in one piece already, and is not copied") {
    buffer_pool pool;
    frame f(pool.allocate(256), frame::default_headroom);
    copy_bytes(f.push_back(4), as_bytes("head"));
    const std::byte* where = f.data().data();
    const frame same = std::move(f).in_one_piece(pool);
    CHECK(same.data().data() == where);
    CHECK(pool.live_blocks() == 1);
}

TEST_CASE("frame: who keeps one with a tail has a copy of his own") {
    buffer_pool pool;
    frame f = gathered(pool);
    const frame kept = std::move(f).owned(pool);
    CHECK(kept.tail().empty());
    CHECK(text_of(kept.data()) == "headmiddleend");
}
