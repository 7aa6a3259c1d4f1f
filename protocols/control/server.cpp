#include <tapir/protocols/control/server.hpp>

#include <unistd.h>

namespace tapir::control::detail {

std::string objection_to(const result<kernel::credentials>& who) {
    if (!who) return "refused: the system does not say who asks: " + who.error().message();
    if (who->uid == 0 || who->uid == ::geteuid()) return {};
    return "refused: user " + std::to_string(who->uid) + " is neither root nor the user " +
           std::to_string(::geteuid()) + " whose program this is";
}

foreign_report::foreign_report(other_hosts& others, std::size_t number, const request& what,
                               const config& limits, report_part part)
    : others_(others), number_(number), what_(what), limits_(limits), part_(part) {}

// A report looks into its host, and ends where it does.
foreign_report::~foreign_report() {
    others_.visit(number_, [s = shared_](host*) { s->rows_to_tell.reset(); });
}

task<result<bool>> foreign_report::next_piece(std::string* piece) {
    promise_base& self = co_await this_coroutine;
    shared_->ready.reset();
    others_.visit(number_, [s = shared_, home = &self.reactor(), what = what_, part = part_,
                            rows = limits_.rows_per_piece, places = limits_.places_per_piece](host* of) {
        static const counters none; // of a socket of its own: it has none
        s->piece.clear();
        s->gone = of == nullptr;
        if (of != nullptr) {
            if (!s->rows_to_tell) s->rows_to_tell.emplace(*of, none, what, process_row(), part);
            s->over = !s->rows_to_tell->append(s->piece, rows, places);
            s->rows = s->rows_to_tell->rows();
        }
        home->post([s] { s->ready.set(); });
    });
    const result<> waited = co_await shared_->ready.wait();
    if (!waited) co_return waited.error();
    if (shared_->gone) co_return errc::host_stopped;
    *piece = std::move(shared_->piece);
    co_return !shared_->over;
}

} // namespace tapir::control::detail
