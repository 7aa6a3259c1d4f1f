// The main() of every test ring: doctest, closed by the one line that scripts read:
// "12 passed, 0 failed" (and ", 3 skipped" where a test could not run here).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "tests/skip.hpp"

namespace tapir::test {
namespace {
int skipped_count = 0;
} // namespace

void skip(const char* reason) {
    ++skipped_count;
    std::printf("SKIPPED %s: %s\n", doctest::getContextOptions()->currentTest->m_name, reason);
}
} // namespace tapir::test

namespace {
unsigned ran = 0;
unsigned failed = 0;

/// Counts test cases for the closing line; doctest's own summary has another form.
struct closing_line final : doctest::IReporter {
    explicit closing_line(const doctest::ContextOptions&) {}
    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats& run) override {
        ran = run.numTestCasesPassingFilters;
        failed = run.numTestCasesFailed;
    }
    void test_case_start(const doctest::TestCaseData&) override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_end(const doctest::CurrentTestCaseStats&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}
};
DOCTEST_REGISTER_LISTENER("closing_line", 1, closing_line);
} // namespace

int main(int argc, char** argv) {
    doctest::Context context(argc, argv);
    const int status = context.run();
    const auto skipped = static_cast<unsigned>(tapir::test::skipped_count);
    std::printf("%u passed, %u failed", ran - failed - (skipped < ran ? skipped : ran), failed);
    if (skipped != 0) std::printf(", %u skipped", skipped);
    std::printf("\n");
    return status;
}
