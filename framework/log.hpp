// What an operator reads at night. Only the framework's .cpp files, host and programs log; the layers below
// count, and trace to a sink that is passed in.
#pragma once

#include <functional>
#include <string_view>

namespace tapir::log {

enum class level { debug, info, warn, error };

void write(level at, std::string_view message);

inline void debug(std::string_view message) {
    write(level::debug, message);
}
inline void info(std::string_view message) {
    write(level::info, message);
}
inline void warn(std::string_view message) {
    write(level::warn, message);
}
inline void error(std::string_view message) {
    write(level::error, message);
}

/// Messages below `lowest` are dropped. The default is info.
void set_level(level lowest);

/// Takes every message instead of spdlog's default logger (stderr); an empty function gives it back. Tests
/// read the log so. Any thread may log; set the sink before other threads run.
using sink = std::function<void(level, std::string_view)>;
void set_sink(sink to);

} // namespace tapir::log
