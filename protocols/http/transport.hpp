// A stream behind a virtual interface, so that server and client are compiled once in this library and not in
// every program for every kind of connection.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/recycled.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tapir::http {

/// What read() would give at once.
enum class at_hand : std::uint8_t { nothing, bytes, end };

class transport {
  public:
    transport() = default;
    transport(const transport&) = delete;
    transport& operator=(const transport&) = delete;
    virtual ~transport() = default;

    virtual task<result<std::size_t>> read(mutable_bytes to) = 0;
    /// Done when read() would not wait; at once over a stream that can not tell.
    virtual task<result<>> until_readable() = 0;
    virtual task<result<>> write(bytes from) = 0;
    virtual task<result<>> finish() = 0;
    virtual task<result<close_report>> close(instant deadline) = 0;
    virtual void abort() = 0;

    // At once, where the stream can; else nothing, and the calls above are for it.
    /// How many bytes; 0 says nothing about what read() or write() would come to.
    virtual std::size_t try_read(mutable_bytes) { return 0; }
    virtual std::size_t try_write(bytes) { return 0; }
    virtual at_hand input() { return at_hand::nothing; }
    /// close() would not wait, for it has nothing to do.
    virtual bool ended() { return false; }
    /// What finish() then waits for: the end of the stream is queued behind the data, and may leave with it.
    virtual bool begin_finish() { return false; }
};

/// `S` is a stream, or a reference to one.
template <class S>
    requires stream<std::remove_reference_t<S>>
class transport_over final : public transport, public recycled<transport_over<S>> {
  public:
    explicit transport_over(S s) : stream_(std::forward<S>(s)) {}

    task<result<std::size_t>> read(mutable_bytes to) override { co_return co_await stream_.read(to); }
    task<result<>> until_readable() override {
        if constexpr (requires(std::remove_reference_t<S>& s) { s.until_readable(); })
            co_return co_await stream_.until_readable();
        else
            co_return result<>();
    }
    task<result<>> write(bytes from) override {
        const write_result written = co_await stream_.write(from);
        if (!written) co_return written.error();
        co_return result<>();
    }
    task<result<>> finish() override { co_return co_await stream_.finish(); }
    task<result<close_report>> close(instant deadline) override {
        co_return co_await stream_.close(deadline);
    }
    void abort() override { stream_.abort(); }

    std::size_t try_read(mutable_bytes to) override {
        if constexpr (tries) return stream_.try_read(to);
        return 0;
    }
    std::size_t try_write(bytes from) override {
        if constexpr (tries) return stream_.try_write(from);
        return 0;
    }
    at_hand input() override {
        if constexpr (tells) {
            if (stream_.readable() != 0) return at_hand::bytes;
            if (stream_.at_end()) return at_hand::end;
        }
        return at_hand::nothing;
    }
    bool ended() override {
        if constexpr (tells) return stream_.ended();
        return false;
    }
    bool begin_finish() override {
        if constexpr (tries) (void)stream_.finish();
        return tries;
    }

  private:
    static constexpr bool tries = requires(std::remove_reference_t<S>& s, mutable_bytes in, bytes out) {
        s.try_read(in);
        s.try_write(out);
    };
    static constexpr bool tells = requires(std::remove_reference_t<S>& s) {
        s.readable();
        s.at_end();
        s.ended();
    };
    S stream_;
};

} // namespace tapir::http
