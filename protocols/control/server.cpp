#include <tapir/protocols/control/server.hpp>

#include <unistd.h>

namespace tapir::control::detail {

std::string objection_to(const result<kernel::credentials>& who) {
    if (!who) return "refused: the system does not say who asks: " + who.error().message();
    if (who->uid == 0 || who->uid == ::geteuid()) return {};
    return "refused: user " + std::to_string(who->uid) + " is neither root nor the user " +
           std::to_string(::geteuid()) + " whose program this is";
}

} // namespace tapir::control::detail
