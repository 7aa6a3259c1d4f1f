#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/rotating_secret.hpp>

#include <array>

namespace tapir::tcp {

// A secret that was not drawn in its own time has sealed nothing: in its place stands another that has not.
void rotating_secret::rotate(std::int64_t now) {
    if (generation_ >= now) return;
    before_ = generation_ == now - 1 ? newest_ : draw();
    newest_ = draw();
    generation_ = now;
}

siphash_key rotating_secret::draw() {
    const auto word = [this] {
        std::array<std::byte, 8> drawn{};
        const std::uint64_t value = random_.next();
        store_be32(drawn, 0, static_cast<std::uint32_t>(value >> 32));
        store_be32(drawn, 4, static_cast<std::uint32_t>(value));
        return siphash(master_, drawn);
    };
    siphash_key key;
    key.k0 = word();
    key.k1 = word();
    return key;
}

} // namespace tapir::tcp
