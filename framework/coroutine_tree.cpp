#include <tapir/framework/coroutine_tree.hpp>
#include <tapir/framework/reactor.hpp>

#include <map>
#include <string_view>
#include <vector>

namespace tapir {
namespace {

std::string position(const std::source_location& at) {
    const std::string_view file = at.file_name();
    const std::size_t slash = file.rfind('/');
    return std::string(slash == std::string_view::npos ? file : file.substr(slash + 1)) + ":" +
           std::to_string(at.line());
}

std::string describe(const promise_base& who) {
    std::string line = who.origin().function_name();
    line += " " + position(who.origin()) + ", at " + position(who.at());
    if (who.waits_for() != nullptr) line += std::string(": ") + who.waits_for();
    return line;
}

const promise_base* visible_parent(const promise_base& who) {
    const promise_base* parent = who.parent();
    while (parent != nullptr && parent->internal()) parent = parent->parent();
    return parent;
}

using children_map =
    std::map<std::uint64_t, std::vector<const promise_base*>>; // by the parent's id, 0: no parent

void print(const children_map& children, std::uint64_t parent, const std::string& indent, std::string& out) {
    const auto found = children.find(parent);
    if (found == children.end()) return;
    for (const promise_base* who : found->second) {
        const bool last = who == found->second.back();
        const bool root = parent == 0;
        out += indent + (root ? "" : last ? "└─ " : "├─ ") + describe(*who) + "\n";
        print(children, who->id(), indent + (root ? "" : last ? "   " : "│  "), out);
    }
}

} // namespace

std::string coroutine_tree(reactor& of) {
    std::vector<const promise_base*> all;
    const auto add_chain = [&all](const promise_base* first) {
        for (const promise_base* who = first; who != nullptr; who = who->awaited()) all.push_back(who);
    };
    add_chain(of.root());
    for (const strand& s : of.strands()) add_chain(&s);
    children_map children;
    for (const promise_base* who : all) {
        if (who->internal() || who->ended()) continue;
        const promise_base* parent = visible_parent(*who);
        children[parent == nullptr ? 0 : parent->id()].push_back(who);
    }
    std::string out;
    print(children, 0, "", out);
    return out;
}

std::string coroutine_chain(const promise_base& who) {
    std::string out;
    for (const promise_base* at = &who; at != nullptr; at = at->parent())
        if (at == &who || !at->internal()) out += describe(*at) + "\n";
    return out;
}

} // namespace tapir
