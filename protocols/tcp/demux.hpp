// From a 4-tuple to what answers for it: a connection, a half-open entry or a TIME_WAIT entry. Open
// addressing with linear probing over keyed hashes: strangers choose the keys, so without the secret they
// must not be able to make one bucket long. A slot is 16 bytes; one to two thirds of them are empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tapir::tcp {

class endpoint;

enum class flow_kind : std::uint8_t { none, connection, half_open, time_wait };

/// What answers for a flow. Half-open and TIME_WAIT entries are indices into their tables.
struct flow_ref {
    flow_ref() = default;
    explicit flow_ref(endpoint* c) : connection(c), kind(flow_kind::connection) {}
    flow_ref(flow_kind k, std::uint32_t i) : index(i), kind(k) {}

    endpoint* connection = nullptr;
    std::uint32_t index = 0;
    flow_kind kind = flow_kind::none;

    explicit operator bool() const { return kind != flow_kind::none; }
    bool operator==(const flow_ref&) const = default;
};

class demux {
  public:
    /// The first entry with this hash for which `same(ref)` holds. Hashes have 64 keyed bits, so `same` is
    /// asked about one entry, practically.
    template <class Same>
    flow_ref find(std::uint64_t hash, Same same) const {
        if (count_ == 0) return {};
        for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
            const slot& s = slots_[at];
            if (s.empty()) return {};
            if (s.hash == hash && same(s.ref())) return s.ref();
        }
    }
    void insert(std::uint64_t hash, flow_ref ref);
    /// Precondition: it was inserted.
    void erase(std::uint64_t hash, flow_ref ref);
    std::size_t size() const { return count_; }
    /// Of memory, at its largest so far.
    std::size_t bytes() const { return slots_ == nullptr ? 0 : (mask_ + 1) * sizeof(slot); }

  private:
    /// The kind stands in the two lowest bits, which no address of an endpoint has.
    struct slot {
        std::uint64_t hash = 0;
        std::uint64_t packed = 0;

        bool empty() const { return packed == 0; }
        flow_ref ref() const;
    };
    static_assert(sizeof(slot) <= 16);
    static std::uint64_t pack(flow_ref ref);
    void grow();

    std::unique_ptr<slot[]> slots_;
    std::size_t mask_ = 0;
    std::size_t count_ = 0;
};

} // namespace tapir::tcp
