#include <tapir/framework/event.hpp>
#include <tapir/framework/file.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

using namespace tapir;

namespace {

struct temporary_folder {
    temporary_folder() {
        std::string name = (std::filesystem::temp_directory_path() / "tapir-file-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~temporary_folder() { std::filesystem::remove_all(path); }
    std::string operator/(const std::string& name) const { return path + "/" + name; }
    std::string path;
};

/// The same over the kernel's ring and in virtual time.
template <class Test>
void on_both(Test test) {
    SUBCASE("over io_uring") {
        reactor r(make_uring_backend());
        test(r);
    }
    SUBCASE("in virtual time") {
        reactor r(make_sim_backend());
        test(r);
    }
}

task<std::string> write_and_read_back(std::string path) {
    auto f = co_await file::open(path, O_RDWR | O_CREAT);
    if (!f) co_return "open: " + f.error().message();
    const auto written = co_await f->write_at(3, as_bytes("tapir"));
    if (!written) co_return "write: " + written.error().message();
    const auto size = co_await f->size();
    if (!size || *size != 8) co_return "wrong size";
    std::array<std::byte, 16> memory{};
    const auto n = co_await f->read_at(2, memory);
    if (!n) co_return "read: " + n.error().message();
    const auto end = co_await f->read_at(8, memory);
    if (!end || *end != 0) co_return "no end of file";
    const auto empty = co_await f->read_at(0, mutable_bytes());
    if (empty || empty.error() != errc::invalid_argument) co_return "an empty span was read";
    const auto info = co_await f->info();
    if (!info || info->what != file_info::type::regular || info->modified == 0) co_return "wrong info";
    const auto closed = co_await f->close();
    if (!closed || *f) co_return "not closed";
    const auto again = co_await f->read_at(0, memory);
    if (again || again.error() != errc::closed) co_return "a closed file was read";
    co_return std::string(as_text(std::span(memory).first(*n)));
}

} // namespace

TEST_CASE("a file is written and read at offsets, and knows its size and its end") {
    const temporary_folder folder;
    on_both(
        [&](reactor& r) { CHECK(r.run(write_and_read_back(folder / "a")) == std::string("\0tapir", 6)); });
}

TEST_CASE("errors of files are values: their errno") {
    const temporary_folder folder;
    on_both([&](reactor& r) {
        const auto missing = r.run(file::open(folder / "missing"));
        REQUIRE_FALSE(missing);
        CHECK(missing.error() == errno_code(ENOENT));
        CHECK(missing.error() == std::errc::no_such_file_or_directory);
        const auto directory = r.run(file::open(folder.path, O_WRONLY));
        REQUIRE_FALSE(directory);
        CHECK(directory.error() == errno_code(EISDIR));
    });
}

TEST_CASE("a path can be opened below a directory that is open already") {
    const temporary_folder folder;
    on_both([&](reactor& r) {
        const auto work = [](const temporary_folder* where) -> task<std::string> {
            auto directory = co_await file::open(where->path, O_RDONLY | O_DIRECTORY);
            if (!directory) co_return directory.error().message();
            const auto status = co_await directory->info();
            if (!status || status->what != file_info::type::directory) co_return "not a directory";
            auto f = co_await file::open_in(*directory, "below", O_WRONLY | O_CREAT);
            if (!f) co_return f.error().message();
            co_return std::filesystem::exists(*where / "below") ? "there" : "elsewhere";
        };
        CHECK(r.run(work(&folder)) == "there");
    });
}

TEST_CASE("a file that goes away closes its descriptor; moved, it goes along") {
    int fd = -1;
    {
        file first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        fd = first.descriptor();
        REQUIRE(fd >= 0);
        file second(std::move(first));
        CHECK_FALSE(first); // NOLINT: what is left of it is what is tested
        file third;
        third = std::move(second);
        CHECK(third.descriptor() == fd);
        CHECK(::fcntl(fd, F_GETFD) >= 0);
    }
    CHECK(::fcntl(fd, F_GETFD) < 0);
}

TEST_CASE("close() runs in a stopped coroutine; reading does not") {
    const temporary_folder folder;
    on_both([&](reactor& r) {
        int fd = -1;
        std::error_code read_error;
        const auto child = [](std::string path, int* number, std::error_code* error) -> task<> {
            auto f = co_await file::open(path, O_RDWR | O_CREAT);
            REQUIRE(f);
            *number = f->descriptor();
            event never_set;
            CHECK_FALSE(co_await never_set.wait());
            std::array<std::byte, 4> memory{};
            const auto n = co_await f->read_at(0, memory);
            if (!n) *error = n.error();
            CHECK(co_await f->close());
        };
        const auto body = [&](scope& s) -> task<> {
            s.spawn(child, folder / "x", &fd, &read_error);
            while (fd < 0) (void)co_await sleep_for(1ms);
            s.request_stop();
        };
        r.run(with_scope(body));
        CHECK(read_error == errc::cancelled);
        CHECK(::fcntl(fd, F_GETFD) < 0);
    });
}

TEST_CASE("in virtual time the order in which files complete follows from the seed") {
    const temporary_folder folder;
    const auto order_of = [&](std::uint64_t seed) {
        sim_config config;
        config.seed = seed;
        reactor r(make_sim_backend(config));
        std::vector<int> order;
        const auto reader = [](std::string path, int number, std::vector<int>* to) -> task<> {
            const auto f = co_await file::open(path, O_RDWR | O_CREAT);
            CHECK(f);
            to->push_back(number);
        };
        const auto body = [&](scope& s) -> task<> {
            for (int i = 0; i < 8; ++i) s.spawn(reader, folder / std::to_string(i), i, &order);
            co_return;
        };
        r.run(with_scope(body));
        return order;
    };
    const auto first = order_of(1);
    CHECK(first.size() == 8);
    CHECK(order_of(1) == first);
    bool differs = false;
    for (std::uint64_t seed = 2; seed < 6; ++seed) differs = differs || order_of(seed) != first;
    CHECK(differs);
}
