// What is told of replays: as a table, as JSON, and as charts.
#pragma once

#include <string>
#include <vector>

#include "base/svg_chart.h"
#include "caching/replay/replay.h"

namespace dmcache {

struct replay_report {
  std::string trace_name;
  const trace &replayed;
  const replay_plan &plan;
  const std::vector<replay_of_blocks> &outcomes; // of that plan
};

// Both without the end of the last line.
std::string as_table(const replay_report &told);

// One object; sizes in it are in bytes.
std::string as_json(const replay_report &told);

// Two for each size of blocks, with a line for each policy: the miss ratio, and what is written to the
// fast device, over the size of the cache.
std::vector<chart> as_charts(const replay_report &told);

} // namespace dmcache
