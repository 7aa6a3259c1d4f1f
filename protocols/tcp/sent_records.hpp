// What is in flight, in byte ranges: when each was sent first and last, and whether it was sent again. An ACK
// may end anywhere, so ranges split; a burst of one instant is one record. Round-trip samples come from here,
// and loss detection by time will.
// [RFC 6298 3]: a range sent twice gives no sample.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/ring.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <optional>

namespace tapir::tcp {

struct sent_record {
    seq begin;
    seq end;
    instant first_sent{};
    instant last_sent{};
    bool retransmitted = false;
};

class sent_records {
  public:
    bool empty() const { return records_.empty(); }
    std::size_t size() const { return records_.size(); }
    const sent_record& operator[](std::size_t i) const { return records_[i]; }

    /// [begin, end) goes out at `now`; what of it went out before becomes a retransmission.
    void sent(seq begin, seq end, instant now);

    struct acked {
        std::optional<instant> sent_at; ///< of the oldest range acknowledged, unless ambiguous
        bool retransmitted = false;     ///< something acknowledged had been sent more than once
    };
    /// Everything before `una` is acknowledged.
    acked acknowledge(seq una);
    void clear() { records_.clear(); }

  private:
    void split_at(seq s);
    ring<sent_record> records_;
};

} // namespace tapir::tcp
