#include <tapir/framework/team.hpp>

#include <algorithm>
#include <thread>
#include <utility>

namespace tapir {

team::team(std::size_t size, make_reactor make)
    : make_(std::move(make)), all_(static_cast<std::ptrdiff_t>(size)) {
    for (std::size_t i = 0; i < size; ++i) members_.push_back(std::make_unique<member>());
}

int team::run(const std::function<task<int>(std::size_t)>& program) {
    {
        std::vector<std::jthread> others;
        for (std::size_t i = 1; i < size(); ++i) {
            try {
                others.emplace_back([&, i] { be(i, program); });
            } catch (...) {
                members_[i]->error = std::current_exception();
                all_.arrive_and_drop();
            }
        }
        be(0, program);
    }
    for (const auto& m : members_)
        if (m->error) std::rethrow_exception(m->error);
    const auto failed = std::ranges::find_if(members_, [](const auto& m) { return m->status != 0; });
    return failed == members_.end() ? 0 : (*failed)->status;
}

void team::be(std::size_t number, const std::function<task<int>(std::size_t)>& program) {
    member& m = *members_[number];
    try {
        m.own = make_();
    } catch (...) {
        m.error = std::current_exception();
    }
    all_.arrive_and_wait(); // whoever posts finds all reactors
    const bool complete =
        std::ranges::all_of(members_, [](const auto& each) { return each->own != nullptr; });
    if (complete) {
        try {
            m.status = m.own->run(program(number));
        } catch (...) {
            m.error = std::current_exception();
        }
        come(number, nullptr, false);
    }
    all_.arrive_and_wait(); // nobody posts any more
    m.own.reset();
}

void team::post(std::size_t to, std::move_only_function<void()> job) {
    members_[to]->own->post(std::move(job));
}

task<bool> team::meet(std::size_t number, bool well) {
    const auto here = std::make_shared<meeting>();
    come(number, here, well);
    if (const auto met = co_await here->all_here.wait(); !met) {
        const std::lock_guard lock(mutex_);
        if (members_[number]->waiting == here) well_ = false;
        co_return false;
    }
    co_return here->well;
}

/// Without `waiting`: it has ended.
void team::come(std::size_t number, std::shared_ptr<meeting> waiting, bool well) {
    const std::lock_guard lock(mutex_);
    member& m = *members_[number];
    if (waiting) {
        if (!m.waiting) ++here_; // else it was stopped while it waited for this one
        m.waiting = std::move(waiting);
    } else {
        m.ended = true;
        if (std::exchange(m.waiting, nullptr)) --here_; // it was stopped while it waited
    }
    well_ = well_ && well;
    const auto ended = static_cast<std::size_t>(
        std::ranges::count_if(members_, [](const auto& each) { return each->ended; }));
    if (here_ == 0 || here_ + ended != size()) return;
    for (std::size_t i = 0; i < size(); ++i) {
        if (!members_[i]->waiting) continue;
        post(i, [each = std::move(members_[i]->waiting), all_well = well_ && ended == 0] {
            each->well = all_well;
            each->all_here.set();
        });
        members_[i]->waiting = nullptr;
    }
    here_ = 0;
    well_ = true;
}

} // namespace tapir
