#include <tapir/framework/slabs.hpp>

namespace tapir {

slabs::~slabs() {
    if (empty_ != nullptr) release(*empty_);
    for (auto* list : {&open_, &full_})
        while (!list->empty()) list->pop_front().of = nullptr;
}

void slabs::add() {
    void* const memory = ::operator new(large_page, std::align_val_t(large_page));
    if (count_++ != 0) take_large_pages(memory, large_page);
    slab& s = *new (memory) slab;
    s.of = this;
    open_.push_front(s);
}

// The slab was full, or nothing is left in it.
void slabs::has_room(slab& s) noexcept {
    if (s.of == nullptr) {
        if (s.used == 0) release(s);
        return;
    }
    slabs& of = *s.of;
    if (s.used != 0) {
        s.remove();
        of.open_.push_front(s);
    } else if (of.empty_ == nullptr) {
        of.empty_ = &s;
    } else {
        --of.count_;
        release(s);
    }
}

void slabs::release(slab& s) noexcept {
    std::destroy_at(&s);
    ::operator delete(static_cast<void*>(&s), std::align_val_t(large_page));
}

} // namespace tapir
