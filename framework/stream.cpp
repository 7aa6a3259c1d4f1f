#include <tapir/framework/stream.hpp>

namespace tapir {

std::string_view name(ending e) {
    switch (e) {
    case ending::open: return "open";
    case ending::orderly: return "orderly";
    case ending::aborted: return "aborted";
    case ending::unread_data: return "unread_data";
    case ending::data_after_close: return "data_after_close";
    case ending::close_timeout: return "close_timeout";
    case ending::reset: return "reset";
    case ending::timed_out: return "timed_out";
    case ending::unreachable: return "unreachable";
    case ending::host_stopped: return "host_stopped";
    case ending::out_of_memory: return "out_of_memory";
    }
    return "?";
}

} // namespace tapir
