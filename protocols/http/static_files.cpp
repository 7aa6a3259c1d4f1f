#include <tapir/framework/file.hpp>
#include <tapir/protocols/http/conditional.hpp>
#include <tapir/protocols/http/static_files.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <linux/openat2.h>
#include <memory>
#include <optional>
#include <span>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace tapir::http {
namespace {

struct site {
    site(file d, static_files_options o) : root(std::move(d)), options(std::move(o)) {}
    file root;
    static_files_options options;
};

struct opened {
    opened() = default;
    tapir::file file;
    struct stat status = {};
    int error = 0;
};

/// Looks `path` up below `root`. The system call is made here and not through the ring: looking up names
/// waits for nothing but, rarely, a directory that is not cached. O_NONBLOCK: a FIFO must not hold the
/// thread.
opened open_beneath(const file& root, const std::string& path) {
    struct open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    opened out;
    const char* name = path.empty() ? "." : path.c_str();
    for (int attempt = 0;; ++attempt) {
        out.file = file(static_cast<int>(::syscall(SYS_openat2, root.descriptor(), name, &how, sizeof how)));
        if (out.file) break;
        // EAGAIN: a rename raced with a ".." in a link; the kernel asks for another try.
        if ((errno == EAGAIN || errno == EINTR) && attempt < 16) continue;
        out.error = errno;
        return out;
    }
    if (::fstat(out.file.descriptor(), &out.status) != 0) out.error = errno;
    return out;
}

/// A range of a file, read through the ring as the connection takes it.
class file_body final : public body_source {
  public:
    file_body(file from, std::uint64_t first, std::uint64_t length)
        : file_(std::move(from)), at_(first), left_(length), length_(length) {}

    task<result<std::size_t>> read(mutable_bytes to) override {
        if (left_ == 0) co_return std::size_t{0};
        const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(left_, to.size()));
        const result<std::size_t> n = co_await file_.read_at(at_, to.first(most));
        if (!n) co_return n.error();
        at_ += *n;
        left_ -= *n;
        co_return *n;
    }
    std::optional<std::uint64_t> length() const override { return length_; }

  private:
    file file_;
    std::uint64_t at_;
    std::uint64_t left_;
    std::uint64_t length_;
};

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

struct lookup {
    int status = 200; ///< of the refusal, if it is one
    std::string name; ///< below the root, without a leading '/'; a trailing one stays
};

/// From the path of a target to a name below the root.
lookup name_below_root(std::string_view path, bool hidden_files) {
    lookup out;
    const auto refuse = [&out](int status) {
        out.status = status;
        out.name.clear();
        return out;
    };
    if (!path.starts_with('/')) return refuse(400);
    for (std::size_t i = 0; i < path.size(); ++i) {
        char c = path[i];
        if (c == '%') {
            if (path.size() - i < 3) return refuse(400);
            const int high = hex_digit(path[i + 1]);
            const int low = hex_digit(path[i + 2]);
            if (high < 0 || low < 0) return refuse(400);
            c = static_cast<char>(high * 16 + low);
            i += 2;
            if (c == '\0') return refuse(400);
            if (c == '/') return refuse(404); // part of a name, then: and no file's name has one
        }
        if (c == '/' && (out.name.empty() || out.name.back() == '/')) continue; // "//" is "/"
        out.name += c;
    }
    std::string_view rest = out.name;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('/'), rest.size());
        const std::string_view part = rest.substr(0, end);
        if (part == "." || part == "..") return refuse(400); // clients remove them [RFC 3986 5.2.4]
        if (!hidden_files && part.starts_with('.') && part != ".well-known") return refuse(404);
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return out;
}

int status_of_error(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG: return 404;
    case EACCES:
    case EPERM:
    case ELOOP:
    case EXDEV: // it would have left the root
    case ENXIO: // a socket, or a device that is not there
    case ENODEV: return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM: return 503;
    default: return 500;
    }
}

response refusal(int status) {
    response r = error_response(status);
    if (status == 405) r.fields.add("Allow", "GET, HEAD"); // [RFC 9110 15.5.6] MUST
    return r;
}

bool is_known_method(std::string_view method) {
    constexpr std::array<std::string_view, 7> known = {"POST",  "PUT",   "DELETE", "OPTIONS",
                                                       "PATCH", "TRACE", "CONNECT"};
    return std::find(known.begin(), known.end(), method) != known.end();
}

std::string etag_of(const struct stat& s) {
    std::array<char, 64> text{};
    char* at = text.data();
    char* const end = text.data() + text.size();
    *at++ = '"';
    for (const std::uint64_t part :
         {static_cast<std::uint64_t>(s.st_mtim.tv_sec), static_cast<std::uint64_t>(s.st_mtim.tv_nsec),
          static_cast<std::uint64_t>(s.st_size)}) {
        at = std::to_chars(at, end, part, 16).ptr;
        *at++ = '-';
    }
    at[-1] = '"';
    return std::string(text.data(), at);
}

/// `path` is the target's own, still encoded, so that it needs no encoding here.
response redirect_to_directory(const request& r) {
    std::string_view path = r.path();
    while (path.starts_with("//")) path.remove_prefix(1); // "//x/" would name another host
    std::string location = std::string(path) + "/";
    if (!r.query().empty()) location.append("?").append(r.query());
    response out = error_response(301);
    out.fields.add("Location", location);
    return out;
}

task<result<std::string>> read_whole(file& from, std::uint64_t first, std::uint64_t length) {
    std::string text(static_cast<std::size_t>(length), '\0');
    std::size_t got = 0;
    while (got < text.size()) {
        const mutable_bytes rest = std::as_writable_bytes(std::span(text)).subspan(got);
        const result<std::size_t> n = co_await from.read_at(first + got, rest);
        if (!n) co_return n.error();
        if (*n == 0) co_return make_error_code(errc::aborted); // it was cut meanwhile
        got += *n;
    }
    co_return std::move(text);
}

task<response> answer(std::shared_ptr<const site> from, const request& r) {
    if (r.method != "GET" && r.method != "HEAD") co_return refusal(is_known_method(r.method) ? 405 : 501);
    lookup found = name_below_root(r.path(), from->options.hidden_files);
    if (found.status != 200) co_return refusal(found.status);
    opened o = open_beneath(from->root, found.name);
    if (o.error == 0 && S_ISDIR(o.status.st_mode)) {
        if (!found.name.empty() && !found.name.ends_with('/')) co_return redirect_to_directory(r);
        found.name += from->options.index;
        o = open_beneath(from->root, found.name);
        if (o.error == ENOENT) co_return refusal(403); // there is no listing
    }
    if (o.error != 0) co_return refusal(status_of_error(o.error));
    if (!S_ISREG(o.status.st_mode)) co_return refusal(403);

    const auto size = static_cast<std::uint64_t>(o.status.st_size);
    const validators version(etag_of(o.status), o.status.st_mtim.tv_sec);
    response out;
    out.fields.add("Last-Modified", format_date(version.modified));
    out.fields.add("ETag", version.etag);
    switch (evaluate(r, version)) {
    case precondition::proceed: break;
    case precondition::failed: co_return refusal(412);
    case precondition::not_modified: out.status = 304; co_return out;
    }
    const byte_range range = requested_range(r, version, size);
    out.fields.add("Accept-Ranges", "bytes");
    const std::string whole_size = "/" + std::to_string(size);
    if (range.what == byte_range::kind::unsatisfiable) { // [RFC 9110 15.5.17]
        response none = refusal(416);
        none.fields.add("Content-Range", "bytes *" + whole_size);
        co_return none;
    }
    if (range.what == byte_range::kind::part) { // [RFC 9110 15.3.7]
        out.status = 206;
        out.fields.add("Content-Range", "bytes " + std::to_string(range.first) + "-" +
                                            std::to_string(range.first + range.length - 1) + whole_size);
    }
    const std::string_view type = content_type_of(found.name);
    out.fields.add("Content-Type", type.empty() ? std::string_view(from->options.default_type) : type);
    if (r.method == "GET" && range.length <= from->options.small_file_bytes) {
        result<std::string> text = co_await read_whole(o.file, range.first, range.length);
        if (!text) co_return refusal(500);
        out.set_body(std::move(*text));
    } else {
        out.set_body(std::make_unique<file_body>(std::move(o.file), range.first, range.length));
    }
    co_return out;
}

} // namespace

handler static_files(const std::string& root, static_files_options options) {
    file directory(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) throw std::system_error(errno, std::system_category(), "cannot serve " + root);
    auto from = std::make_shared<const site>(std::move(directory), std::move(options));
    return [from](const request& r) { return answer(from, r); };
}

} // namespace tapir::http
