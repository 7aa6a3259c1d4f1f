#include <tapir/framework/entropy.hpp>

#include <cerrno>
#include <sys/random.h>
#include <system_error>

namespace tapir {

std::uint64_t os_seed() {
    std::uint64_t seed = 0;
    while (::getrandom(&seed, sizeof seed, 0) != static_cast<ssize_t>(sizeof seed)) // whole below 256 bytes
        if (errno != EINTR) throw std::system_error(errno, std::system_category(), "getrandom");
    return seed;
}

siphash_key os_secret() {
    siphash_key key;
    key.k0 = os_seed();
    key.k1 = os_seed();
    return key;
}

} // namespace tapir
