// Where control sockets are: a directory of each user's own (mode 0700), one socket (mode 0600) for each
// process. In this order:
//
//     $TAPIR_RUNTIME_DIR            if set, and nowhere else
//     /run/tapir                    root's
//     $XDG_RUNTIME_DIR/tapir        a user's, where there is a session
//     /tmp/tapir-<uid>              a user's otherwise
//
// Inside a user namespace, <uid> is the one outside: who starts a program with "unshare --map-root-user"
// finds its socket from outside. A directory there that is a link, another user's, or open to others is not
// used.
#pragma once

#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/task.hpp>

#include <expected>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace tapir::control {

/// This process's own path, <directory>/<pid>.sock; the directory is made if need be. The error is a
/// sentence.
std::expected<std::string, std::string> default_path();

/// Listens at `path`, mode 0600. A socket that a dead process has left there is replaced; a live one is not,
/// nor is a file of another kind or user. The error is a sentence that names the path.
task<std::expected<kernel::listener, std::string>> open_socket(std::string path, int backlog = 16);

/// Removes the sockets that dead processes have left in the directory of `path`, which nobody else may write
/// to.
task<> remove_dead_sockets(std::string path);

struct found_socket {
    found_socket(std::string p, std::optional<uid_t> o) : path(std::move(p)), owner(o) {}
    std::string path;
    std::optional<uid_t> owner; ///< who, or root, must answer there: whose the directory is
};

/// Every socket (*.sock) in the directories above that this user may trust, in order of their names; root
/// also looks into those of all users. What is no socket, or neither the directory's owner's, ours nor
/// root's, is passed over. Nobody may be behind it any more.
std::vector<found_socket> find_sockets();
/// The directories that find_sockets() looks into, for an error message.
std::vector<std::string> directories_searched();

} // namespace tapir::control
