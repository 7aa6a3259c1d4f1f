#include <tapir/framework/buffer.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <vector>

using namespace tapir;

TEST_CASE("buffer pool: capacities are size classes; the true size counts, not the content") {
    buffer_pool pool;
    CHECK(pool.allocate(0).capacity() == 256);
    CHECK(pool.allocate(256).capacity() == 256);
    CHECK(pool.allocate(257).capacity() == 512);
    CHECK(pool.allocate(65536).capacity() == 65536);
    CHECK(pool.allocate(131072).capacity() == 131072);
    CHECK(pool.allocate(200'000).capacity() == 200'000); // past the classes: as asked for
    CHECK(pool.live_blocks() == 0);
    const buffer b = pool.allocate(1500);
    CHECK(pool.live_blocks() == 1);
    CHECK(pool.live_bytes() == 2048);
    const buffer large = pool.allocate(131'073);
    CHECK(pool.live_blocks() == 2);
    CHECK(pool.live_bytes() == 2048 + 131'073);
}

TEST_CASE("buffer pool: a block that was given back is used again") {
    buffer_pool pool;
    const std::byte* where = nullptr;
    {
        const buffer b = pool.allocate(1000);
        where = b.data();
    }
    CHECK(pool.allocate(900).data() == where);
    CHECK(pool.allocate(100).data() != where);
}

TEST_CASE("buffer pool: a block of 64 KiB or more starts a page") {
    buffer_pool pool;
    for (const std::size_t size : {std::size_t{64} << 10, std::size_t{128} << 10, std::size_t{1} << 20}) {
        CAPTURE(size);
        const buffer first = pool.allocate(size);
        const buffer second = pool.allocate(size);
        for (const std::byte* at : {first.data(), second.data()})
            CHECK(reinterpret_cast<std::uintptr_t>(at) % 4096 == sizeof(detail::block));
    }
}

TEST_CASE("buffer pool: there is no block of 4 GiB") {
    buffer_pool pool;
    CHECK_THROWS_AS((void)pool.allocate(std::size_t{1} << 32), std::bad_alloc);
    CHECK(pool.live_blocks() == 0);
}

TEST_CASE("buffer: copies share, the last one gives the block back") {
    buffer_pool pool;
    buffer a = pool.copy_of(as_bytes("tapir"));
    CHECK(a.unique());
    buffer b = a;
    CHECK_FALSE(a.unique());
    CHECK(b.data() == a.data());
    a = buffer();
    CHECK_FALSE(a);
    CHECK(b.unique());
    CHECK(as_text(b.span().first(5)) == "tapir");
    buffer c = std::move(b);
    CHECK_FALSE(b); // NOLINT: moved from on purpose
    buffer& same = c;
    c = same; // assigned to itself
    CHECK(pool.live_blocks() == 1);
    c = buffer();
    CHECK(pool.live_blocks() == 0);
    CHECK(pool.live_bytes() == 0);
}

TEST_CASE("chunk: slices share one block, and cost its true size") {
    buffer_pool pool;
    std::optional<chunk> whole(chunk(pool.copy_of(as_bytes("0123456789")), 0, 10));
    chunk middle = whole->slice(3, 4);
    CHECK(as_text(middle.data()) == "3456");
    middle.drop_front(1);
    middle.drop_back(1);
    CHECK(as_text(middle.data()) == "45");
    CHECK(as_text(middle.slice(1, 1).data()) == "5");
    CHECK(middle.true_size() == 256);
    whole.reset();
    CHECK(as_text(middle.data()) == "45"); // the slice keeps the block
    CHECK(pool.live_blocks() == 1);
    middle.drop_front(2);
    CHECK(middle.empty());
    CHECK(chunk().empty());
    CHECK(chunk(pool.allocate(300)).size() == 512);
}

TEST_CASE("buffer: one that outlives its pool is still good") {
    std::vector<buffer> kept;
    {
        auto pool = std::make_unique<buffer_pool>();
        for (const char* text : {"one", "two", "three"}) kept.push_back(pool->copy_of(as_bytes(text)));
        const buffer big = pool->allocate(500'000);
    }
    CHECK(as_text(kept[2].span().first(5)) == "three");
    kept.pop_back();
    CHECK(as_text(kept[0].span().first(3)) == "one");
}
