#include <tapir/framework/error.hpp>

#include <string>

namespace tapir {
namespace {

class category final : public std::error_category {
  public:
    const char* name() const noexcept override { return "tapir"; }

    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
        case errc::cancelled: return "cancelled";
        case errc::deadline_exceeded: return "deadline exceeded";
        case errc::timed_out: return "timed out: the peer does not answer";
        case errc::refused: return "connection refused";
        case errc::reset: return "connection reset by peer";
        case errc::aborted: return "connection aborted by this side";
        case errc::host_unreachable: return "host unreachable";
        case errc::network_unreachable: return "network unreachable";
        case errc::host_stopped: return "host stopped";
        case errc::unreachable_state: return "that state can no longer be reached";
        case errc::busy: return "another coroutine already waits for this";
        case errc::finished: return "sending side already finished";
        case errc::closed: return "already closed";
        case errc::address_in_use: return "address in use";
        case errc::address_unavailable: return "not an address of this host";
        case errc::no_ports: return "no free ephemeral port";
        case errc::no_memory: return "out of memory within the configured bounds";
        case errc::invalid_argument: return "invalid argument";
        case errc::not_supported: return "not supported here";
        case errc::malformed: return "malformed message from peer";
        case errc::too_large: return "larger than the configured limit";
        }
        return "unknown tapir error " + std::to_string(value);
    }

    std::error_condition default_error_condition(int value) const noexcept override {
        using std::errc;
        switch (static_cast<tapir::errc>(value)) {
        case tapir::errc::cancelled: return errc::operation_canceled;
        case tapir::errc::timed_out: return errc::timed_out;
        case tapir::errc::refused: return errc::connection_refused;
        case tapir::errc::reset: return errc::connection_reset;
        case tapir::errc::aborted: return errc::connection_aborted;
        case tapir::errc::host_unreachable: return errc::host_unreachable;
        case tapir::errc::network_unreachable: return errc::network_unreachable;
        case tapir::errc::busy: return errc::device_or_resource_busy;
        case tapir::errc::finished: return errc::broken_pipe;
        case tapir::errc::address_in_use: return errc::address_in_use;
        case tapir::errc::address_unavailable: return errc::address_not_available;
        case tapir::errc::no_memory: return errc::not_enough_memory;
        case tapir::errc::invalid_argument: return errc::invalid_argument;
        case tapir::errc::not_supported: return errc::operation_not_supported;
        case tapir::errc::too_large: return errc::message_size;
        default: return {value, *this};
        }
    }
};

} // namespace

const std::error_category& tapir_category() noexcept {
    static const category instance;
    return instance;
}

} // namespace tapir
