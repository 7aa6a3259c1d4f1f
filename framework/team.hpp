// Several threads, each with a reactor of its own, that run one program and meet now and then. They share
// nothing but what they hand each other.
//
//     tapir::team shards(4, make_reactor);
//     int status = shards.run([&](std::size_t member) -> task<int> {
//         ...                                                     // what each prepares for the others
//         if (!co_await shards.meet(member)) co_return 1;         // one could not
//         ...
//         (void)co_await shards.meet(member);                     // nobody is needed any more
//         co_return 0;
//     });
#pragma once

#include <tapir/framework/event.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/task.hpp>

#include <barrier>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace tapir {

class team {
  public:
    using make_reactor = std::function<std::unique_ptr<reactor>()>;
    /// `make` is called on each member's thread.
    team(std::size_t size, make_reactor make);
    team(const team&) = delete;
    team& operator=(const team&) = delete;

    std::size_t size() const { return members_.size(); }

    /// Runs program(number) on each member's reactor, number 0 on the calling thread, until all have ended.
    /// The first status that is not 0, in order of numbers; or the first exception. A member that has ended
    /// runs nothing more: those that others still need meet() at their end. Once.
    int run(const std::function<task<int>(std::size_t member)>& program);

    /// Runs `job` on the thread of `to`, if its program has not ended by then. Any member may call it.
    void post(std::size_t to, std::move_only_function<void()> job);

    /// Resumes when all members have come here: whether each was `well`. A member that has ended counts as
    /// come and not well; so does one that is stopped while it waits, for which this is false at once.
    task<bool> meet(std::size_t member, bool well = true);

  private:
    struct meeting {
        event all_here;
        bool well = true;
    };
    struct member {
        std::unique_ptr<reactor> own;
        int status = 0;
        std::exception_ptr error;
        bool ended = false;               ///< under mutex_, as what follows
        std::shared_ptr<meeting> waiting; ///< it has come to the meeting that is not complete yet
    };
    void be(std::size_t number, const std::function<task<int>(std::size_t)>& program);
    void come(std::size_t number, std::shared_ptr<meeting> waiting, bool well);

    make_reactor make_;
    std::vector<std::unique_ptr<member>> members_;
    std::barrier<> all_;
    std::mutex mutex_;
    std::size_t here_ = 0; ///< come to the meeting that is not complete yet, but for those that have ended
    bool well_ = true;
};

} // namespace tapir
