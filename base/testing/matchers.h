// Whether something succeeded or failed, asked in one way of every type that says so: a
// std::error_code, a result<T>, a std::expected with an error code.
//
//   EXPECT_THAT(device.flush(), succeeds());
//   EXPECT_THAT(device.flush(), fails_with(std::errc::io_error));
//   ASSERT_THAT(open(path), fails_with(failure::environment));
//   EXPECT_THAT(open(path), fails_with(failure::usage, HasSubstr("same device")));
#pragma once

#include <expected>
#include <string>
#include <system_error>
#include <type_traits>

#include <gmock/gmock.h>

#include "base/result.h"

namespace dmcache {

namespace testing_detail {

inline bool has_succeeded(const std::error_code &outcome) {
  return !outcome;
}
template <typename T, typename E> bool has_succeeded(const std::expected<T, E> &outcome) {
  return outcome.has_value();
}

inline std::error_code error_of(const std::error_code &outcome) {
  return outcome;
}
template <typename T, typename E> const E &error_of(const std::expected<T, E> &outcome) {
  return outcome.error();
}

inline bool is_of(const std::error_code &found, const std::error_condition &wanted) {
  return found == wanted;
}
inline bool is_of(const error &found, failure wanted) {
  return found.kind == wanted;
}

inline std::string text_of(const std::error_code &found) {
  return found.message();
}
inline std::string text_of(const error &found) {
  return found.message;
}

} // namespace testing_detail

MATCHER(succeeds, negation ? "fails" : "succeeds") {
  if (testing_detail::has_succeeded(arg)) {
    return true;
  }
  *result_listener << "which failed: " << testing_detail::text_of(testing_detail::error_of(arg));
  return false;
}

MATCHER(fails, negation ? "succeeds" : "fails") {
  return !testing_detail::has_succeeded(arg);
}

// `code` is a std::errc, an error code, or, of a result, a failure.
MATCHER_P(fails_with, code, "fails in the expected way") {
  if (testing_detail::has_succeeded(arg)) {
    *result_listener << "which succeeded";
    return false;
  }
  const auto &found = testing_detail::error_of(arg);
  *result_listener << "which failed: " << testing_detail::text_of(found);
  if constexpr (std::is_same_v<std::decay_t<decltype(code)>, std::errc>) {
    return testing_detail::is_of(found, std::make_error_condition(code));
  } else if constexpr (std::is_same_v<std::decay_t<decltype(code)>, std::error_code>) {
    return found == code;
  } else {
    return testing_detail::is_of(found, code);
  }
}

// The same, and the text of the error meets `text`: a string, or a matcher of strings.
MATCHER_P2(fails_with, code, text, "fails in the expected way") {
  return testing::ExplainMatchResult(fails_with(code), arg, result_listener) &&
         testing::ExplainMatchResult(testing::Matcher<std::string>(text),
                                     testing_detail::text_of(testing_detail::error_of(arg)),
                                     result_listener);
}

} // namespace dmcache
