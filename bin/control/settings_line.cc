#include "bin/control/settings_line.h"

#include <cstdint>
#include <utility>

#include <nlohmann/json.hpp>

#include "bin/control/json_number.h"

namespace dmcache {

using json = nlohmann::ordered_json;

std::string settings_line(const engine_options &in_force) {
  return json{{"mode", name_of(in_force.mode)},
              {"policy", in_force.policy},
              {"policy_settings", in_force.policy_settings},
              {"migration_threshold_sectors", in_force.migration_threshold.value()},
              {"discard_passdown", in_force.discard_passdown},
              {"cleaning", name_of(in_force.cleaning)},
              {"max_dirty", text_of(in_force.max_dirty)},
              {"accept_resize", in_force.accepted.resized}}
      .dump();
}

bool take_settings(std::string_view line, engine_options &into) {
  engine_options taken = into;
  try {
    const json from = json::parse(line);
    const auto mode = find_cache_mode(from.at("mode").get<std::string>());
    const auto cleaning = find_cleaning_trigger(from.at("cleaning").get<std::string>());
    const auto max_dirty = find_dirty_limit("max_dirty", from.at("max_dirty").get<std::string>(),
                                            bare_number::is_in_sectors);
    if (!mode || !cleaning || !max_dirty) {
      return false;
    }
    taken.mode = *mode;
    taken.cleaning = *cleaning;
    taken.max_dirty = *max_dirty;
    from.at("policy").get_to(taken.policy);
    from.at("policy_settings").get_to(taken.policy_settings);
    taken.migration_threshold = sectors{json_number(from.at("migration_threshold_sectors"))};
    from.at("discard_passdown").get_to(taken.discard_passdown);
    from.at("accept_resize").get_to(taken.accepted.resized);
  } catch (const json::exception &) {
    return false;
  }
  into = std::move(taken);
  return true;
}

} // namespace dmcache
