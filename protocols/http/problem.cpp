#include <tapir/protocols/http/problem.hpp>

#include <algorithm>
#include <string>

namespace tapir::http {
namespace {

struct described {
    std::string_view name;
    int status;
};

described about(problem p) {
    switch (p) {
    case problem::none: return {"none", 200};
    case problem::bad_request_line: return {"bad_request_line", 400};
    case problem::bad_status_line: return {"bad_status_line", 400};
    case problem::bad_target: return {"bad_target", 400};
    case problem::target_too_long: return {"target_too_long", 414};
    case problem::unsupported_version: return {"unsupported_version", 505};
    case problem::unsupported_method: return {"unsupported_method", 501};
    case problem::bad_line_ending: return {"bad_line_ending", 400};
    case problem::control_character: return {"control_character", 400};
    case problem::obsolete_folding: return {"obsolete_folding", 400};
    case problem::bad_field: return {"bad_field", 400};
    case problem::head_too_large: return {"head_too_large", 431};
    case problem::missing_host: return {"missing_host", 400};
    case problem::repeated_host: return {"repeated_host", 400};
    case problem::bad_host: return {"bad_host", 400};
    case problem::unknown_expectation: return {"unknown_expectation", 417};
    case problem::bad_content_length: return {"bad_content_length", 400};
    case problem::repeated_content_length: return {"repeated_content_length", 400};
    case problem::length_and_transfer_encoding: return {"length_and_transfer_encoding", 400};
    case problem::bad_transfer_encoding: return {"bad_transfer_encoding", 400};
    case problem::unsupported_transfer_encoding: return {"unsupported_transfer_encoding", 501};
    case problem::length_required: return {"length_required", 411};
    case problem::body_too_large: return {"body_too_large", 413};
    case problem::bad_chunk_size: return {"bad_chunk_size", 400};
    case problem::bad_chunk_extension: return {"bad_chunk_extension", 400};
    case problem::bad_chunk_end: return {"bad_chunk_end", 400};
    case problem::bad_trailer: return {"bad_trailer", 400};
    case problem::incomplete: return {"incomplete", 400};
    }
    return {"unknown", 400};
}

class category final : public std::error_category {
  public:
    const char* name() const noexcept override { return "http"; }
    std::string message(int value) const override {
        const auto p = static_cast<problem>(value);
        std::string text(name_of(p));
        std::replace(text.begin(), text.end(), '_', ' ');
        return p == problem::incomplete ? "the stream ended within the message" : text;
    }
};

} // namespace

std::string_view name_of(problem p) {
    return about(p).name;
}

int status_of(problem p) {
    return about(p).status;
}

const std::error_category& http_category() noexcept {
    static const category instance;
    return instance;
}

} // namespace tapir::http
