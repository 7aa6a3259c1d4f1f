// What a receiver of a bulk transfer has seen, whichever TCP it reads from, and when it has seen enough. Time
// runs from the moment at which the connection was accepted, so that the handshake, and a SYN that had to be
// sent twice, are not part of it.
#pragma once

#include <tapir/framework/bytes.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include "bench/recovery/pattern.hpp"

namespace bench {

struct tally_limits {
    double seconds = 60; ///< the transfer ends here, complete or not
    double stalled = 20; ///< without a byte for so long it has failed; past every back-off that may still end
    double warm_up = 0;  ///< bytes that come earlier do not count: shares are compared when they have settled
};

class tally {
  public:
    using seconds = std::chrono::duration<double>;

    explicit tally(tally_limits limits) : limits_(limits) {}

    /// `since`: since the accept, here and below.
    void received(tapir::bytes what, seconds since) {
        if (!pattern_.matches(bytes_, what)) ended_ = "wrong";
        bytes_ += what.size();
        last_ = since;
        if (since.count() < limits_.warm_up) {
            early_bytes_ = bytes_;
            early_ = since;
        }
    }
    void end_of_stream() {
        if (ended_.empty()) ended_ = "complete";
    }
    void broken(const std::string& why) {
        if (ended_.empty()) ended_ = "broken:" + why;
    }
    bool complete() const { return ended_ == "complete"; }
    /// True when nothing more is to be read.
    bool over(seconds since) {
        if (!ended_.empty()) return true;
        if (since.count() >= limits_.seconds) {
            ended_ = "limit";
            last_ = since;
        } else if ((since - last_).count() >= limits_.stalled) {
            ended_ = "stalled";
            last_ = since;
        }
        return !ended_.empty();
    }

    /// The line that the harness reads.
    void print() const {
        std::printf("received %llu seconds %.6f ended %s\n",
                    static_cast<unsigned long long>(bytes_ - early_bytes_), (last_ - early_).count(),
                    ended_.empty() ? "never_began" : ended_.c_str());
        std::fflush(stdout);
    }

  private:
    tally_limits limits_;
    pattern pattern_;
    std::uint64_t bytes_ = 0;
    std::uint64_t early_bytes_ = 0; ///< of these, during the warm-up
    seconds last_{};
    seconds early_{};
    std::string ended_;
};

} // namespace bench
