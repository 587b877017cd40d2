#include "bin/control/verification_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bin/control/json_number.h"

namespace dmcache {
namespace {

using json = nlohmann::ordered_json;

// The list of all numbers, for both directions.
template <typename Summary, typename Each> void for_each_number(Summary &of, Each each) {
  each("clean", of.clean);
  each("clean_discarded", of.clean_discarded);
  each("clean_differing", of.clean_differing);
  each("dirty", of.dirty);
  each("dirty_equal", of.dirty_equal);
  each("unreadable", of.unreadable);
  each("cleared", of.cleared);
  each("dropped", of.dropped);
  each("stale_left", of.stale_left);
}

} // namespace

std::string to_json(const verification_summary &summary) {
  json made{{"block_size", summary.block_size.value()},
            {"drop_refused", summary.is_drop_refused},
            {"unreadable_because", summary.reasons}};
  for_each_number(summary, [&](const char *name, std::uint64_t value) { made[name] = value; });
  return made.dump();
}

result<verification_summary> summary_from_json(std::string_view text) {
  try {
    const json from = json::parse(text);
    verification_summary made;
    made.block_size = bytes{json_number(from.at("block_size"))};
    made.is_drop_refused = from.at("drop_refused").get<bool>();
    made.reasons = from.at("unreadable_because").get<std::set<std::string>>();
    for_each_number(
        made, [&](const char *name, std::uint64_t &value) { value = json_number(from.at(name)); });
    return made;
  } catch (const json::exception &wrong) {
    return fail(failure::environment,
                fmt::format("this is no verification of a cache: {}", wrong.what()));
  }
}

} // namespace dmcache
