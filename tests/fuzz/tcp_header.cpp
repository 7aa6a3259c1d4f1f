// Any bytes are a header or are refused; a header survives being written and read again.
#include <tapir/protocols/tcp/header.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/must.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tapir;
    using fuzz::must;
    const bytes input = std::as_bytes(std::span(data, size));
    static_cast<void>(tcp::checksum_ok(input, 0));
    const auto parsed = tcp::parse(input);
    if (!parsed) return 0;
    must(parsed->size <= size && parsed->size >= tcp::header_size);
    must(!tcp::to_string(parsed->header).empty());

    // What was cut off is not written back. Forty bytes hold no full SACK list beside all other options, so
    // that list is shortened.
    tcp::header again = parsed->header;
    again.options.malformed = false;
    if (again.options.sack_count > 2) again.options.sack_count = 2;
    for (std::size_t i = again.options.sack_count; i < again.options.sack.size(); ++i)
        again.options.sack[i] = {};
    if (again.options.sack_count != 0) again.options.mss.reset();
    const bytes payload = input.subspan(parsed->size);
    std::vector<std::byte> out(again.size() + payload.size());
    const std::array parts = {payload};
    tcp::emit(std::span(out).first(again.size()), again, 0x1234, parts);
    copy_bytes(std::span(out).subspan(again.size()), payload);
    must(tcp::checksum_ok(out, 0x1234));
    const auto second = tcp::parse(out);
    must(second.has_value() && second->header == again);
    return 0;
}
