#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>

tapir::task<int> answer() {
    (void)co_await tapir::sleep_for(std::chrono::hours(24)); // virtual: takes no time
    co_return 42;
}

int main() {
    return tapir::reactor(tapir::make_sim_backend()).run(answer()) == 42 ? 0 : 1;
}
