#include "caching/simulation/media.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "base/lent_device.h"
#include "base/zeroes.h"
#include "caching/tools/check.h"
#include "persistent-data/walk_context.h"

namespace dmcache {
namespace {

class media_reader final : public metadata_visitor {
 public:
  explicit media_reader(media_contents &into) : into_{into} {}

  void mappings(std::span<const mapping> some) override {
    into_.mappings.insert(into_.mappings.end(), some.begin(), some.end());
  }
  void hints(cache_block first, std::span<const le32> some) override {
    into_.hints.resize(std::max(into_.hints.size(), first.value() + some.size()));
    std::ranges::copy(some, into_.hints.begin() + static_cast<std::ptrdiff_t>(first.value()));
  }
  void discards(std::uint64_t begin, std::uint64_t end) override {
    into_.discards.push_back({begin, end});
  }

 private:
  media_contents &into_;
};

class damage_text final : public damage_sink {
 public:
  void found(const damage &found_damage) override { text += describe(found_damage) + "\n"; }
  std::string text;
};

bool is_blank(const simulated_device &metadata) {
  for (std::uint64_t sector = 0; sector < metadata_block_size / sector_size; ++sector) {
    if (!is_all_zero(metadata.sector(sector))) {
      return false;
    }
  }
  return true;
}

result<> check_media(simulated_device &metadata, const superblock &block, bool mend, bool loud) {
  metadata_device on{std::make_unique<lent_device>(metadata), block};
  const auto open_to_mend = [&] {
    return read_metadata_device(std::make_unique<lent_device>(metadata));
  };
  report to{"check", !loud};
  if (check(std::move(on), {.open_to_mend = mend ? std::function{open_to_mend} : nullptr}, to) !=
      0) {
    return fail(failure::failed, "check finds damage");
  }
  return {};
}

} // namespace

const mapping *media_contents::find(origin_block wanted) const {
  const auto found = std::ranges::find(mappings, wanted, &mapping::origin);
  return found == mappings.end() ? nullptr : &*found;
}

result<media_contents> read_media(simulated_device &metadata, bool loud) {
  media_contents found;
  if (is_blank(metadata)) {
    return found;
  }
  found.is_formatted = true;
  const auto block = read_superblock(metadata);
  if (!block) {
    return std::unexpected{block.error()};
  }
  found.block = *block;
  if (const auto checked = check_media(metadata, *block, false, false); !checked) {
    if (loud) {
      static_cast<void>(check_media(metadata, *block, false, true));
    }
    return std::unexpected{checked.error()};
  }
  block_usage usage{metadata.size()};
  damage_text damage;
  progress watcher{true};
  media_reader reader{found};
  const auto ambiguous = read_metadata({metadata, usage, damage, watcher}, *block, {}, reader);
  if (ambiguous || !damage.text.empty()) {
    return fail(failure::failed, "damage: " + damage.text);
  }
  return found;
}

result<> mend_media(simulated_device &metadata) {
  const auto block = read_superblock(metadata);
  if (!block) {
    return std::unexpected{block.error()};
  }
  return check_media(metadata, *block, true, false);
}

} // namespace dmcache
