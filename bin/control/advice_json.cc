#include "bin/control/advice_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bin/control/json_number.h"

namespace dmcache {
namespace {

using json = nlohmann::ordered_json;

json encoded(const touch_counts &counts) {
  return {{"reads", counts.reads}, {"writes", counts.writes}};
}

touch_counts touches_from(const json &from) {
  return {from.at("reads").get<double>(), from.at("writes").get<double>()};
}

} // namespace

std::string to_json(const size_advice &advice) {
  json sizes = json::array();
  for (const auto &[nr_blocks, lru, sift] : advice.sizes) {
    sizes.push_back({{"cache_blocks", nr_blocks},
                     {"lru_miss_ratios", encoded(lru)},
                     {"sift_miss_ratios", encoded(sift)}});
  }
  json curve = json::array();
  for (const auto &[nr_blocks, miss_ratio] : advice.curve) {
    curve.push_back({{"cache_blocks", nr_blocks}, {"lru_miss_ratio", miss_ratio}});
  }
  return json{{"block_size_sectors", advice.block_size.value()},
              {"cache_blocks_total", advice.nr_blocks},
              {"progress", advice.progress},
              {"seen", encoded(advice.seen)},
              {"missed", encoded(advice.missed)},
              {"sizes", sizes},
              {"curve", curve}}
      .dump();
}

result<size_advice> advice_from_json(std::string_view text) {
  try {
    const json from = json::parse(text);
    size_advice made{.block_size = sectors{json_number(from.at("block_size_sectors"))},
                     .nr_blocks = json_number(from.at("cache_blocks_total")),
                     .seen = touches_from(from.at("seen")),
                     .missed = touches_from(from.at("missed")),
                     .progress = from.at("progress").get<double>(),
                     .sizes = {},
                     .curve = {}};
    for (const json &each : from.at("sizes")) {
      made.sizes.push_back({json_number(each.at("cache_blocks")),
                            touches_from(each.at("lru_miss_ratios")),
                            touches_from(each.at("sift_miss_ratios"))});
    }
    for (const json &each : from.at("curve")) {
      made.curve.push_back(
          {json_number(each.at("cache_blocks")), each.at("lru_miss_ratio").get<double>()});
    }
    return made;
  } catch (const json::exception &wrong) {
    return fail(failure::environment,
                fmt::format("this is no advice of a cache: {}", wrong.what()));
  }
}

} // namespace dmcache
