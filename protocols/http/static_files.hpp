// The files below one directory, and nothing else.
//
//     http::handler site = http::static_files("/srv/www");
//     co_await http::serve(listener, site, config, control);
//
// Names are looked up with openat2(RESOLVE_BENEATH): the kernel itself refuses whatever would leave the root,
// by "..", by a symbolic link out of it, or by one that is absolute; links that stay inside are followed. A
// path is percent-decoded once. Directories are not listed: "/dir/" gives its index file or 403, "/dir" a
// redirect to "/dir/". Names that begin with a dot (.git, .htpasswd) do not exist, but for .well-known.
#pragma once

#include <tapir/protocols/http/message.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace tapir::http {

struct static_files_options {
    static_files_options() = default;
    std::string index = "index.html";
    bool hidden_files = false;
    /// For names without a known ending.
    std::string default_type = "application/octet-stream";
    /// Up to here a file is read whole and leaves in one piece with the head; larger ones are streamed.
    std::size_t small_file_bytes = 32 * 1024;
};

/// Throws std::system_error when `root` is no directory that can be opened. GET and HEAD, conditional
/// requests, and single ranges.
handler static_files(const std::string& root, static_files_options options = {});

/// By the ending of the name: "text/html; charset=utf-8". Empty when it is not known.
std::string_view content_type_of(std::string_view name);

} // namespace tapir::http
