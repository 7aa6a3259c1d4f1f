#include <tapir/protocols/control/json.hpp>

#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

namespace tapir::control {

namespace {

using nlohmann::ordered_json;

template <class T>
concept struct_of_fields = requires(T& t) { T::visit(t, [](std::string_view, auto&) {}); };

template <class T>
struct optional_of : std::false_type {};
template <class T>
struct optional_of<std::optional<T>> : std::true_type {
    using type = T;
};

template <class T>
ordered_json json_of(const T& value) {
    if constexpr (struct_of_fields<T>) {
        ordered_json object = ordered_json::object();
        if constexpr (requires { T::type; }) object["type"] = T::type;
        T::visit(value, [&]<class Field>(const char* name, const Field& field) {
            if constexpr (optional_of<Field>::value) {
                if (field) object[name] = json_of(*field);
            } else {
                object[name] = json_of(field);
            }
        });
        return object;
    } else if constexpr (std::is_same_v<T, named_counts>) {
        ordered_json object = ordered_json::object();
        for (const auto& [name, count] : value) object[name] = count;
        return object;
    } else {
        return value;
    }
}

/// Throws ordered_json::exception when something is not what it should be.
template <class T>
void read(const ordered_json& from, T& value) {
    if constexpr (struct_of_fields<T>) {
        T::visit(value, [&]<class Field>(const char* name, Field& field) {
            if constexpr (optional_of<Field>::value) {
                if (const auto found = from.find(name); found != from.end()) read(*found, field.emplace());
            } else {
                read(from.at(name), field);
            }
        });
    } else if constexpr (std::is_same_v<T, named_counts>) {
        for (const auto& [key, number] : from.get_ref<const ordered_json::object_t&>())
            read(number, value.emplace_back(key, 0).second);
    } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
        // The library would convert whatever number stands there, and cut it to size.
        const bool fits = std::is_unsigned_v<T> ? from.is_number_unsigned() : from.is_number_integer();
        if (!fits) throw ordered_json::other_error::create(0, "not a whole number of its kind", &from);
        from.get_to(value);
    } else {
        from.get_to(value);
    }
}

template <class Row>
bool read_if(std::string_view type, const ordered_json& from, row& to) {
    if (type != Row::type) return false;
    read(from, to.emplace<Row>());
    return true;
}

} // namespace

std::string to_json(const row& r) {
    const ordered_json object = std::visit(
        []<class Row>(const Row& known) {
            if constexpr (std::is_same_v<Row, std::monostate>)
                return ordered_json::object();
            else
                return json_of(known);
        },
        r);
    return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

result<row> parse_row(std::string_view line) {
    row r;
    try {
        const ordered_json object = ordered_json::parse(line);
        const auto type = object.at("type").get<std::string>();
        static_cast<void>(read_if<process_row>(type, object, r) || read_if<tcp_row>(type, object, r) ||
                          read_if<udp_row>(type, object, r) || read_if<counters_row>(type, object, r) ||
                          read_if<error_row>(type, object, r) || read_if<end_row>(type, object, r));
    } catch (const ordered_json::exception&) {
        return errc::malformed;
    }
    return r;
}

} // namespace tapir::control
