// From a 4-tuple to its connection. Open addressing with linear probing over keyed hashes: strangers choose
// the keys, so without the secret they must not be able to make one bucket long. A slot is 16 bytes; one to
// two thirds of them are empty. (What is not yet a connection, or no more, is in entry_table.hpp.)
#pragma once

#include <tapir/framework/large_pages.hpp>
#include <tapir/framework/prefetch.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tapir::tcp {

class endpoint;

class demux {
  public:
    /// The first connection with this hash for which `same(endpoint)` holds, or null. Hashes have 64 keyed
    /// bits, so `same` is asked about one, practically.
    template <class Same>
    endpoint* find(std::uint64_t hash, Same same) const {
        if (count_ == 0) return nullptr;
        for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
            const slot& s = slots_[at];
            if (s.connection == nullptr) return nullptr;
            if (s.hash == hash && same(*s.connection)) return s.connection;
        }
    }
    /// Of find(), without asking: the connection that it will ask about, most likely.
    endpoint* likely(std::uint64_t hash) const {
        return find(hash, [](const endpoint&) { return true; });
    }
    void prefetch(std::uint64_t hash) const {
        if (count_ != 0) tapir::prefetch(&slots_[hash & mask_]);
    }
    void insert(std::uint64_t hash, endpoint& connection);
    /// Precondition: it was inserted.
    void erase(std::uint64_t hash, const endpoint& connection);
    std::size_t size() const { return count_; }
    /// Of memory, at its largest so far.
    std::size_t bytes() const { return slots_.size() * sizeof(slot); }

  private:
    struct slot {
        std::uint64_t hash = 0;
        endpoint* connection = nullptr;
    };
    static_assert(sizeof(slot) <= 16);
    void grow();

    std::vector<slot, large_page_allocator<slot>> slots_; ///< a power of two, or none
    std::size_t mask_ = 0;
    std::size_t count_ = 0;
};

} // namespace tapir::tcp
