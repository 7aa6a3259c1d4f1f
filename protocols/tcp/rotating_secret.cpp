#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/rotating_secret.hpp>

#include <array>

namespace tapir::tcp {

void rotating_secret::rotate(std::int64_t now) {
    if (generation_ >= now) return;
    before_ = secret_of(now - 1);
    newest_ = secret_of(now);
    generation_ = now;
}

siphash_key rotating_secret::secret_of(std::int64_t generation) const {
    std::array<std::byte, 17> message{};
    const auto store = [&message](std::size_t at, std::uint64_t value) {
        store_be32(message, at, static_cast<std::uint32_t>(value >> 32));
        store_be32(message, at + 4, static_cast<std::uint32_t>(value));
    };
    store(0, salt_);
    store(8, static_cast<std::uint64_t>(generation));
    siphash_key key;
    key.k0 = siphash(master_, message);
    message[16] = std::byte{1};
    key.k1 = siphash(master_, message);
    return key;
}

} // namespace tapir::tcp
