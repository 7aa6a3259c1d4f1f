#include <tapir/framework/log.hpp>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

namespace tapir::log {
namespace {

struct state {
    std::mutex mutex;
    level lowest = level::info;
    sink taken;
    std::shared_ptr<spdlog::logger> logger = spdlog::stderr_color_mt("tapir");
    state() { logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v"); }
};

// The one global of the framework: a process has one standard error.
state& global() {
    static state instance;
    return instance;
}

spdlog::level::level_enum spdlog_level(level at) {
    switch (at) {
    case level::debug: return spdlog::level::debug;
    case level::info: return spdlog::level::info;
    case level::warn: return spdlog::level::warn;
    case level::error: return spdlog::level::err;
    }
    return spdlog::level::err;
}

} // namespace

void write(level at, std::string_view message) {
    state& s = global();
    const std::lock_guard lock(s.mutex);
    if (at < s.lowest) return;
    if (s.taken) {
        s.taken(at, message);
        return;
    }
    s.logger->log(spdlog_level(at), "{}", message);
}

void set_level(level lowest) {
    state& s = global();
    const std::lock_guard lock(s.mutex);
    s.lowest = lowest;
    s.logger->set_level(spdlog_level(lowest));
}

void set_sink(sink to) {
    state& s = global();
    const std::lock_guard lock(s.mutex);
    s.taken = std::move(to);
}

} // namespace tapir::log
