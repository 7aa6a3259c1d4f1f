#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <algorithm>
#include <cassert>

namespace tapir::tcp {

namespace {

// Option kinds. [RFC 9293 3.2] [RFC 7323 2.2, 3.2] [RFC 2018 2, 3] [RFC 7413 4.1.1]
constexpr std::uint8_t kind_end = 0;
constexpr std::uint8_t kind_nop = 1;
constexpr std::uint8_t kind_mss = 2;
constexpr std::uint8_t kind_window_scale = 3;
constexpr std::uint8_t kind_sack_permitted = 4;
constexpr std::uint8_t kind_sack = 5;
constexpr std::uint8_t kind_timestamps = 8;
constexpr std::uint8_t kind_fast_open = 34;

[[maybe_unused]] constexpr std::size_t max_options = 40;

void parse_option(std::uint8_t kind, bytes content, options& into) {
    switch (kind) {
    case kind_mss:
        if (content.size() == 2)
            into.mss = load_be16(content, 0);
        else
            into.malformed = true;
        break;
    case kind_window_scale:
        if (content.size() == 1)
            into.window_scale = load_u8(content, 0);
        else
            into.malformed = true;
        break;
    case kind_sack_permitted:
        if (content.empty())
            into.sack_permitted = true;
        else
            into.malformed = true;
        break;
    case kind_sack:
        if (content.empty() || content.size() % 8 != 0 || content.size() / 8 > into.sack.size()) {
            into.malformed = true;
            break;
        }
        into.sack_count = static_cast<std::uint8_t>(content.size() / 8);
        for (std::size_t i = 0; i < into.sack_count; ++i)
            into.sack[i] = {seq(load_be32(content, 8 * i)), seq(load_be32(content, 8 * i + 4))};
        break;
    case kind_timestamps:
        if (content.size() == 8)
            into.ts = timestamps{load_be32(content, 0), load_be32(content, 4)};
        else
            into.malformed = true;
        break;
    case kind_fast_open:
        if (content.empty() || (content.size() % 2 == 0 && content.size() >= fast_open_cookie::least &&
                                content.size() <= fast_open_cookie::most)) {
            into.fast_open.emplace();
            into.fast_open->size = static_cast<std::uint8_t>(content.size());
            copy_bytes(into.fast_open->octets, content);
        } else {
            into.malformed = true;
        }
        break;
    default: break; // [RFC 9293 3.1 MUST-6]: unknown options have a length and are skipped
    }
}

/// NOP, NOP, timestamps of ten bytes: all options of nearly every segment. [RFC 7323 appendix A]
constexpr std::size_t timestamps_alone = 12;
constexpr std::uint32_t begins_timestamps_alone =
    std::uint32_t{kind_nop} << 24 | std::uint32_t{kind_nop} << 16 | std::uint32_t{kind_timestamps} << 8 | 10;

// [RFC 9293 3.1 MUST-4, MUST-5, MUST-6, MUST-7]
void parse_options(bytes area, options& found) {
    if (area.size() == timestamps_alone && load_be32(area, 0) == begins_timestamps_alone) {
        found.ts = timestamps{load_be32(area, 4), load_be32(area, 8)};
        return;
    }
    std::size_t at = 0;
    while (at < area.size()) {
        const std::uint8_t kind = load_u8(area, at);
        if (kind == kind_end) break;
        if (kind == kind_nop) {
            ++at;
            continue;
        }
        if (area.size() - at < 2 || load_u8(area, at + 1) < 2 || load_u8(area, at + 1) > area.size() - at) {
            found.malformed = true; // the length leads nowhere: nothing behind it can be found
            break;
        }
        const std::size_t length = load_u8(area, at + 1);
        parse_option(kind, area.subspan(at + 2, length - 2), found);
        at += length;
    }
}

std::size_t padded(std::size_t n) {
    return (n + 3) & ~std::size_t{3};
}

// Timestamps come first and aligned (two NOPs before them): receivers have fast paths for that form.
// [RFC 7323 appendix A]
void emit_options(mutable_bytes area, const options& o) {
    if (o.ts && area.size() == timestamps_alone) {
        store_be32(area, 0, begins_timestamps_alone);
        store_be32(area, 4, o.ts->value);
        store_be32(area, 8, o.ts->echo);
        return;
    }
    std::size_t at = 0;
    const auto put = [&](std::uint8_t v) { store_u8(area, at++, v); };
    const auto put16 = [&](std::uint16_t v) {
        store_be16(area, at, v);
        at += 2;
    };
    const auto put32 = [&](std::uint32_t v) {
        store_be32(area, at, v);
        at += 4;
    };
    if (o.mss) {
        put(kind_mss);
        put(4);
        put16(*o.mss);
    }
    if (o.sack_permitted) {
        put(kind_sack_permitted);
        put(2);
    }
    if (o.ts) {
        if (!o.sack_permitted) {
            put(kind_nop);
            put(kind_nop);
        }
        put(kind_timestamps);
        put(10);
        put32(o.ts->value);
        put32(o.ts->echo);
    }
    if (o.window_scale) {
        put(kind_nop);
        put(kind_window_scale);
        put(3);
        put(*o.window_scale);
    }
    if (o.fast_open) {
        put(kind_fast_open);
        put(static_cast<std::uint8_t>(2 + o.fast_open->size));
        for (std::size_t i = 0; i < o.fast_open->size; ++i)
            put(static_cast<std::uint8_t>(o.fast_open->octets[i]));
    }
    if (o.sack_count != 0) {
        put(kind_nop);
        put(kind_nop);
        put(kind_sack);
        put(static_cast<std::uint8_t>(2 + 8 * o.sack_count));
        for (std::size_t i = 0; i < o.sack_count; ++i) {
            put32(o.sack[i].begin.value());
            put32(o.sack[i].end.value());
        }
    }
    while (at < area.size()) put(kind_end);
}

} // namespace

std::size_t options::size() const {
    std::size_t n = 0;
    if (mss) n += 4;
    if (sack_permitted) n += 2;
    if (ts) n += sack_permitted ? 10 : 12;
    if (window_scale) n += 4;
    if (fast_open) n += 2u + fast_open->size;
    if (sack_count != 0) n += 4 + 8u * sack_count;
    assert(padded(n) <= max_options);
    return padded(n);
}

std::expected<parsed_header, header_error> parse(bytes segment) {
    parsed_header result{};
    const auto size = parse(segment, result.header);
    if (!size) return std::unexpected(size.error());
    result.size = *size;
    return result;
}

std::expected<std::size_t, header_error> parse(bytes segment, header& h) {
    if (segment.size() < header_size) return std::unexpected(header_error::truncated);
    const std::size_t size = 4u * (load_u8(segment, 12) >> 4);
    if (size < header_size) return std::unexpected(header_error::bad_data_offset);
    if (size > segment.size()) return std::unexpected(header_error::truncated);

    h.source_port = load_be16(segment, 0);
    h.destination_port = load_be16(segment, 2);
    if (h.source_port == 0 || h.destination_port == 0) return std::unexpected(header_error::zero_port);
    h.seq = seq(load_be32(segment, 4));
    h.ack = seq(load_be32(segment, 8));
    h.flags = static_cast<flags>(load_u8(segment, 13));
    h.window = load_be16(segment, 14);
    h.urgent = load_be16(segment, 18);
    parse_options(segment.subspan(header_size, size - header_size), h.options);
    return size;
}

bool checksum_ok(bytes segment, std::uint16_t pseudo_header_sum) {
    ip::checksum sum(pseudo_header_sum);
    sum.add_u32(static_cast<std::uint32_t>(segment.size()));
    sum.add(segment);
    return sum.valid();
}

namespace {
template <class Parts>
void emit_before(const Parts& payload, mutable_bytes room, const header& h, std::uint16_t pseudo_header_sum,
                 checksum_mode mode) {
    const std::size_t size = room.size();
    store_be16(room, 0, h.source_port);
    store_be16(room, 2, h.destination_port);
    store_be32(room, 4, h.seq.value());
    store_be32(room, 8, h.ack.value());
    store_u8(room, 12, static_cast<std::uint8_t>((size / 4) << 4));
    store_u8(room, 13, static_cast<std::uint8_t>(h.flags));
    store_be16(room, 14, h.window);
    store_be16(room, 16, 0);
    store_be16(room, 18, h.urgent);
    emit_options(room.subspan(header_size), h.options);

    std::size_t length = size;
    for (const bytes part : payload) length += part.size();
    ip::checksum sum(pseudo_header_sum);
    sum.add_u32(static_cast<std::uint32_t>(length));
    if (mode == checksum_mode::partial) {
        store_be16(room, 16, sum.sum());
        return;
    }
    sum.add(room); // [RFC 9293 3.1 MUST-2]
    for (const bytes part : payload) sum.add(part);
    store_be16(room, 16, sum.value());
}
} // namespace

void emit(mutable_bytes room, const header& h, std::uint16_t pseudo_header_sum,
          std::span<const bytes> payload, checksum_mode mode) {
    emit_before(payload, room, h, pseudo_header_sum, mode);
}
void emit(mutable_bytes room, const header& h, std::uint16_t pseudo_header_sum,
          std::span<const chunk> payload, checksum_mode mode) {
    emit_before(payload, room, h, pseudo_header_sum, mode);
}

std::string to_string(flags f) {
    static constexpr std::array<std::pair<flags, const char*>, 8> names = {{
        {flags::syn, "SYN"},
        {flags::fin, "FIN"},
        {flags::rst, "RST"},
        {flags::psh, "PSH"},
        {flags::ack, "ACK"},
        {flags::urg, "URG"},
        {flags::ece, "ECE"},
        {flags::cwr, "CWR"},
    }};
    std::string text;
    for (const auto& [bit, name] : names) {
        if (!has(f, bit)) continue;
        if (!text.empty()) text += '|';
        text += name;
    }
    return text.empty() ? "-" : text;
}

std::string to_string(const header& h) {
    std::string text = to_string(h.flags) + " seq=" + std::to_string(h.seq.value());
    if (h.has_ack()) text += " ack=" + std::to_string(h.ack.value());
    text += " win=" + std::to_string(h.window);
    std::string list;
    const auto add = [&list](const std::string& item) { list += (list.empty() ? "" : ", ") + item; };
    const options& o = h.options;
    if (o.mss) add("mss " + std::to_string(*o.mss));
    if (o.window_scale) add("wscale " + std::to_string(*o.window_scale));
    if (o.sack_permitted) add("sackOK");
    if (o.ts) add("ts " + std::to_string(o.ts->value) + " ecr " + std::to_string(o.ts->echo));
    if (o.fast_open)
        add(o.fast_open->size == 0 ? "fastopen?"
                                   : "fastopen " + std::to_string(o.fast_open->size) + " bytes");
    for (std::size_t i = 0; i < o.sack_count; ++i)
        add("sack " + std::to_string(o.sack[i].begin.value()) + ":" + std::to_string(o.sack[i].end.value()));
    if (!list.empty()) text += " <" + list + ">";
    return text;
}

} // namespace tapir::tcp
