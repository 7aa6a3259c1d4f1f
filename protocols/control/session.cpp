#include <tapir/protocols/control/json.hpp>
#include <tapir/protocols/control/session.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <unistd.h>
#include <utility>

namespace tapir::control {

session::session(host& of, const config& limits, counters& count, bool others_follow)
    : host_(of), config_(limits), counters_(count), others_follow_(others_follow) {}

void session::put(bytes received) {
    if (answering_) return;
    const std::string_view text = as_text(received);
    const std::size_t end = text.find('\n');
    line_ += text.substr(0, std::min(end, config_.max_request_bytes + 1 - line_.size()));
    if (line_.size() > config_.max_request_bytes) {
        answer_malformed("a request is at most " + std::to_string(config_.max_request_bytes) +
                         " bytes; this one is longer");
    } else if (end != std::string_view::npos) {
        answer(line_);
    }
}

void session::put_end() {
    if (answering_) return;
    if (line_.empty()) {
        answering_ = true;
    } else {
        answer(line_);
    }
}

void session::refuse(const std::string& why) {
    error_row error;
    error.error = why;
    error_ = to_json(error) + "\n";
    report_.reset();
    asked_.reset();
    answering_ = true;
}

void session::answer(std::string_view line) {
    const auto what = parse_request(line);
    if (!what) return answer_malformed(what.error());
    ++counters_.requests;
    process_row who;
    who.pid = static_cast<std::uint64_t>(::getpid());
    who.program = config_.program.empty() ? program_invocation_short_name : config_.program;
    who.host = host_.name();
    asked_ = *what;
    report_.emplace(host_, counters_, *what, who, report_part{.last = !others_follow_});
    answering_ = true;
}

void session::answer_malformed(const std::string& why) {
    ++counters_.malformed;
    refuse(why);
}

bool session::next_piece(std::string& piece) {
    piece.clear();
    if (!error_.empty()) {
        piece = std::exchange(error_, {});
        return true;
    }
    if (!report_) return false;
    if (!report_->append(piece, config_.rows_per_piece, config_.places_per_piece)) {
        rows_ = report_->rows();
        counters_.rows += rows_;
        report_.reset();
    }
    return true;
}

} // namespace tapir::control
