#include "bin/control/change_requests.h"

#include <utility>

namespace dmcache {
namespace {

using action = std::function<result<>()>;

action message_to(threaded_runtime &of, std::vector<std::string> words) {
  return [&of, words = std::move(words)] { return of.message(words); };
}

result<action> change_of_mode(threaded_runtime &of, const std::string &name) {
  const auto mode = find_cache_mode(name);
  if (!mode) {
    return std::unexpected{mode.error()};
  }
  return
      [&of, mode] { return of.reload([mode](engine_options &options) { options.mode = *mode; }); };
}

// `words` are all of the request, from "set policy" on.
result<action> change_of_policy(threaded_runtime &of, std::vector<std::string> words) {
  if (words.size() % 2 == 0) {
    return fail(failure::usage, "a policy's settings are keys, each with a value");
  }
  return [&of, words = std::move(words)] {
    return of.reload([&words](engine_options &options) {
      options.policy = words[2];
      options.policy_settings.clear();
      for (std::size_t i = 3; i + 1 < words.size(); i += 2) {
        options.policy_settings.emplace_back(words[i], words[i + 1]);
      }
    });
  };
}

} // namespace

std::optional<result<action>> change_for(threaded_runtime &of, std::vector<std::string> words) {
  const std::string first = words.empty() ? "" : words[0];
  if (first == "message" && words.size() > 1) {
    words.erase(words.begin());
    return message_to(of, std::move(words));
  }
  if (first != "set" || words.size() < 3) {
    return {};
  }
  if (words[1] == "policy") {
    return change_of_policy(of, std::move(words));
  }
  if (words[1] == "mode" && words.size() == 3) {
    return change_of_mode(of, words[2]);
  }
  // The engine has these as messages.
  if (words[1] == "cleaning" && words.size() == 3) {
    return message_to(of, {"cleaning", words[2]});
  }
  if (words[1] == "max-dirty" && words.size() == 3) {
    return message_to(of, {"max_dirty", words[2]});
  }
  return {};
}

} // namespace dmcache
