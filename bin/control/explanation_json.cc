#include "bin/control/explanation_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/whole_number.h"
#include "bin/control/control_protocol.h"

namespace dmcache {

std::string to_json(const block_explanation &of) {
  nlohmann::ordered_json made{{"begin", of.begin.value()},
                              {"length", of.length.value()},
                              {"block", of.block.value()},
                              {"cached", of.cached_in.has_value()}};
  if (of.cached_in) {
    made["cache_block"] = of.cached_in->value();
    made["dirty"] = of.is_dirty;
  }
  made["policy"] = of.policy;
  for (const auto &[name, count] : of.counts) {
    made[name] = count;
  }
  made["explanation"] = of.sentences;
  // A policy may say anything, so bytes that are no UTF-8 are replaced.
  return made.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string explanation_line(threaded_runtime &of, std::string_view at) {
  const auto offset = whole_number<std::uint64_t>(at);
  if (!offset) {
    return error_line({failure::usage, fmt::format("'{}' is no number of bytes", at)});
  }
  const auto explained = of.explain(bytes{*offset});
  return explained ? fmt::format("ok {}\n", to_json(*explained)) : error_line(explained.error());
}

result<std::string> sentences_of_explanation(std::string_view text) {
  try {
    const auto from = nlohmann::json::parse(text);
    std::string all;
    for (const auto &each : from.at("explanation")) {
      all += each.get<std::string>() + '\n';
    }
    return all;
  } catch (const nlohmann::json::exception &wrong) {
    return fail(failure::environment,
                fmt::format("this explains no block of a cache: {}", wrong.what()));
  }
}

} // namespace dmcache
