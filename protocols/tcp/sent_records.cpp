#include <tapir/protocols/tcp/sent_records.hpp>

namespace tapir::tcp {

void sent_records::split_at(seq s) {
    for (std::size_t i = 0; i < records_.size(); ++i) {
        if (!(records_[i].begin < s && s < records_[i].end)) continue;
        sent_record behind = records_[i];
        behind.begin = s;
        records_[i].end = s;
        records_.insert(i + 1, behind);
        return;
    }
}

void sent_records::sent(seq begin, seq end, instant now) {
    if (!records_.empty() && begin < records_.back().end) {
        split_at(begin);
        split_at(end);
        for (std::size_t i = 0; i < records_.size(); ++i) {
            sent_record& r = records_[i];
            if (r.begin < begin || r.end > end) continue;
            r.last_sent = now;
            r.retransmitted = true;
        }
        begin = later(begin, records_.back().end);
    }
    if (begin >= end) return;
    if (!records_.empty() && !records_.back().retransmitted && records_.back().last_sent == now &&
        records_.back().end == begin) {
        records_.back().end = end;
        return;
    }
    records_.push_back(sent_record{begin, end, now, now, false});
}

sent_records::acked sent_records::acknowledge(seq una) {
    acked result;
    std::optional<instant> oldest;
    while (!records_.empty() && records_.front().begin < una) {
        sent_record& first = records_.front();
        if (first.retransmitted) result.retransmitted = true;
        if (!oldest) oldest = first.first_sent;
        if (first.end > una) {
            first.begin = una;
            break;
        }
        records_.pop_front();
    }
    if (!result.retransmitted) result.sent_at = oldest;
    return result;
}

} // namespace tapir::tcp
