#include <tapir/protocols/tcp/trace.hpp>

namespace tapir::tcp {

std::string_view to_string(loss_sign s) {
    switch (s) {
    case loss_sign::duplicate_acks: return "duplicate_acks";
    case loss_sign::newer_arrived: return "newer_arrived";
    case loss_sign::overdue: return "overdue";
    case loss_sign::tail_probe: return "tail_probe";
    case loss_sign::path_mtu: return "path_mtu";
    }
    return "?";
}

std::string_view to_string(send_limit l) {
    switch (l) {
    case send_limit::application: return "application";
    case send_limit::window: return "window";
    case send_limit::cwnd: return "cwnd";
    case send_limit::pacing: return "pacing";
    case send_limit::small_segment: return "small_segment";
    }
    return "?";
}

} // namespace tapir::tcp
