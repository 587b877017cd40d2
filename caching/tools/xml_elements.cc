#include "caching/tools/xml_elements.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/whole_number.h"
#include "caching/tools/base64.h"

namespace dmcache {
namespace {

using fault = xml_elements::fault;
using place = xml_elements::place;

constexpr std::uint64_t max_u32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t max_u64 = std::numeric_limits<std::uint64_t>::max();

// The attributes of one element. Each is asked for once; the first thing that is wrong with them is
// remembered.
class attribute_list {
 public:
  attribute_list(std::string_view element, const char *const *pairs) : element_{element} {
    for (; *pairs != nullptr; pairs += 2) {
      pairs_.emplace_back(pairs[0], pairs[1]);
    }
  }

  bool has(std::string_view name) const {
    return std::ranges::find(pairs_, name, &pair::first) != pairs_.end();
  }

  std::string_view text(std::string_view name) {
    const auto found = std::ranges::find(pairs_, name, &pair::first);
    if (found == pairs_.end()) {
      refuse(fmt::format("<{}> without attribute {}", element_, name));
      return {};
    }
    const std::string_view value = found->second;
    pairs_.erase(found);
    return value;
  }

  std::uint64_t number(std::string_view name, std::uint64_t max) {
    const std::string_view value = text(name);
    const auto parsed = whole_number<std::uint64_t>(value);
    if (!parsed || *parsed > max) {
      refuse(fmt::format("{}=\"{}\" is no whole number from 0 to {}", name, value, max));
      return 0;
    }
    return *parsed;
  }
  std::uint32_t number32(std::string_view name) {
    return static_cast<std::uint32_t>(number(name, max_u32));
  }

  bool boolean(std::string_view name) {
    const std::string_view value = text(name);
    if (value != "true" && value != "false") {
      refuse(fmt::format("{}=\"{}\" is neither true nor false", name, value));
    }
    return value == "true";
  }

  void refuse(std::string why) {
    if (!fault_) {
      fault_ = std::move(why);
    }
  }

  // To be called after every attribute that the element can have was asked for.
  fault finish() {
    if (!pairs_.empty()) {
      refuse(fmt::format("<{}> with unknown attribute {}", element_, pairs_.front().first));
    }
    return std::move(fault_);
  }

 private:
  using pair = std::pair<std::string_view, std::string_view>;

  std::string_view element_;
  std::vector<pair> pairs_;
  fault fault_;
};

void read_policy_version(attribute_list &attributes, superblock &into) {
  const std::string_view text = attributes.text("policy_version");
  std::string_view rest = text;
  for (std::size_t i = 0; i < into.policy_version.size(); ++i) {
    const auto dot = i + 1 < into.policy_version.size() ? rest.find('.') : rest.size();
    const auto number = whole_number<std::uint64_t>(rest.substr(0, dot));
    if (dot == std::string_view::npos || !number || *number > max_u32) {
      attributes.refuse(fmt::format("policy_version=\"{}\" is not like 2.0.0", text));
      break;
    }
    into.policy_version.at(i) = static_cast<std::uint32_t>(*number);
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
}

// Those that the superblock can have itself, or in a comment.
void read_additions(attribute_list &attributes, superblock &into) {
  if (attributes.has("policy_version")) {
    read_policy_version(attributes, into);
  }
  for (auto [name, field] : {std::pair{"read_hits", &into.read_hits},
                             {"read_misses", &into.read_misses},
                             {"write_hits", &into.write_hits},
                             {"write_misses", &into.write_misses}}) {
    if (attributes.has(name)) {
      *field = attributes.number32(name);
    }
  }
}

void read_uuid(attribute_list &attributes, superblock &into) {
  const std::string_view text = attributes.text("uuid");
  if (!text.empty() && !decode_base64(text, std::span{into.uuid})) {
    attributes.refuse(fmt::format("uuid=\"{}\" is not the base64 of 16 bytes", text));
  }
}

void read_policy(attribute_list &attributes, superblock &into) {
  const std::string_view name = attributes.text("policy");
  if (name.size() > into.policy_name.size() || !is_policy_name(name)) {
    attributes.refuse(
        fmt::format("policy=\"{}\" is not up to 16 letters, digits, '-' and '_'", name));
    return;
  }
  std::ranges::copy(name, into.policy_name.begin());
  std::ranges::copy(own_version_of_policy(name), into.policy_version.begin());
}

} // namespace

std::optional<le32> hint_from_base64(std::string_view digits) {
  std::array<std::byte, sizeof(le32)> raw{};
  if (!decode_base64(digits, std::span{raw})) {
    return {};
  }
  return std::bit_cast<le32>(raw);
}

fault xml_elements::start(std::string_view element, const char *const *attributes) {
  const auto enter = [&](place next, fault wrong) {
    place_ = next;
    return wrong;
  };
  // Sections come at most once, in the order of their values.
  const auto begin_section = [&](place section) {
    fault wrong = section > last_section_
                      ? fault{}
                      : fmt::format("<{}> a second time, or after a later section", element);
    last_section_ = section;
    place_ = section;
    return wrong;
  };
  if (place_ == place::document && element == "superblock") {
    return enter(place::superblock, start_superblock(attributes));
  }
  if (place_ == place::superblock && (element == "mappings" || element == "hints")) {
    fault wrong = begin_section(element == "mappings" ? place::mappings : place::hints);
    return wrong ? wrong : attribute_list{element, attributes}.finish();
  }
  if (place_ == place::superblock && element == "discards") {
    fault wrong = begin_section(place::discards);
    return wrong ? wrong : start_discards(attributes);
  }
  if (place_ == place::mappings && element == "mapping") {
    return enter(place::mapping, start_mapping(attributes));
  }
  if (place_ == place::hints && element == "hint") {
    return enter(place::hint, start_hint(attributes));
  }
  if (place_ == place::discards && element == "discard") {
    return enter(place::discard, start_discard(attributes));
  }
  return fmt::format("<{}> is not expected here", element);
}

fault xml_elements::start_in_comment(std::string_view element, const char *const *attributes) {
  if (place_ == place::superblock && last_section_ == place::superblock &&
      element == "superblock") {
    place_ = place::addition;
    return start_addition(attributes);
  }
  if (place_ == place::superblock && last_section_ == place::discards && element == "discards") {
    place_ = place::discards;
    return continue_discards(attributes);
  }
  if (element == "discards" || place_ == place::discards) {
    return start(element, attributes);
  }
  return fmt::format("<{}> is not expected in this comment", element);
}

fault xml_elements::end() {
  switch (place_) {
  case place::superblock:
    if (last_section_ == place::superblock) {
      return "<superblock> without <mappings>";
    }
    place_ = place::end;
    break;
  case place::mapping:
    place_ = place::mappings;
    break;
  case place::hint:
    place_ = place::hints;
    break;
  case place::discard:
    place_ = place::discards;
    break;
  default:
    place_ = place::superblock;
  }
  return {};
}

fault xml_elements::text(std::string_view some) {
  return some.find_first_not_of(" \t\r\n") == std::string_view::npos
             ? fault{}
             : "text where only elements are expected";
}

std::unique_ptr<cache_contents> xml_elements::take() {
  // This dialect doesn't tell how large the origin is: it counts as just large enough.
  superblock &block = contents_->described();
  if (contents_->discard_end() != 0 && !knows_discard_size_) {
    block.discard_block_size = std::uint32_t{block.data_block_size};
    block.discard_nr_blocks = std::max(contents_->discard_end(), contents_->origin_end());
  }
  return std::move(contents_);
}

fault xml_elements::start_superblock(const char *const *attributes) {
  attribute_list list{"superblock", attributes};
  superblock block{};
  block.magic = superblock::magic_value;
  block.version = version_;
  block.flags = superblock::clean_shutdown;
  block.metadata_block_size = metadata_block_size / sector_size;
  read_uuid(list, block);
  read_policy(list, block);
  block.data_block_size = list.number32("block_size");
  block.cache_blocks = list.number32("nr_cache_blocks");
  block.policy_hint_size = list.number32("hint_width");
  read_additions(list, block);
  if (fault wrong = list.finish()) {
    return wrong;
  }
  return begin_contents(block);
}

fault xml_elements::begin_contents(const superblock &block) {
  if (const auto faults = faults_of(block); !faults.empty()) {
    return faults.front();
  }
  if (fault refused = accept_(block)) {
    return refused;
  }
  contents_ = std::make_unique<cache_contents>(block);
  return {};
}

fault xml_elements::start_addition(const char *const *attributes) {
  attribute_list list{"superblock", attributes};
  superblock block = contents_->described();
  read_additions(list, block);
  if (list.has("hint_width")) { // instead of the one that thin-provisioning-tools need
    block.policy_hint_size = list.number32("hint_width");
  }
  fault wrong = list.finish();
  return wrong ? wrong : begin_contents(block);
}

fault xml_elements::start_mapping(const char *const *attributes) {
  attribute_list list{"mapping", attributes};
  const cache_block cached_in{list.number("cache_block", max_u32)};
  const origin_block origin{list.number("origin_block", max_u64)};
  const bool dirty = list.boolean("dirty");
  fault wrong = list.finish();
  return wrong ? wrong : add({cached_in, origin, dirty});
}

fault xml_elements::start_hint(const char *const *attributes) {
  attribute_list list{"hint", attributes};
  const cache_block block{list.number("cache_block", max_u32)};
  const std::string_view data = list.text("data");
  const auto hint = hint_from_base64(data);
  if (!hint) {
    list.refuse(fmt::format("data=\"{}\" is not the base64 of 4 bytes", data));
  }
  fault wrong = list.finish();
  return wrong ? wrong : add_hint(block, *hint);
}

fault xml_elements::start_discards(const char *const *attributes) {
  attribute_list list{"discards", attributes};
  if (list.has("block_size") || list.has("nr_blocks")) {
    superblock &block = contents_->described();
    block.discard_block_size = list.number("block_size", max_u64);
    block.discard_nr_blocks = list.number("nr_blocks", max_u64);
    knows_discard_size_ = true;
    if (block.discard_block_size == 0 || block.discard_nr_blocks == 0) {
      list.refuse("discard blocks of no size, or none of them");
    } else if (contents_->origin_end() > block.max_origin_blocks()) {
      list.refuse(fmt::format("origin block {} is mapped, and by these discard blocks the origin "
                              "has just {} blocks",
                              contents_->origin_end() - 1, block.max_origin_blocks()));
    }
  }
  fault wrong = list.finish();
  return wrong ? wrong : accept_(contents_->described());
}

fault xml_elements::continue_discards(const char *const *attributes) {
  attribute_list list{"discards", attributes};
  const superblock &block = contents_->described();
  if (!knows_discard_size_ || list.number("block_size", max_u64) != block.discard_block_size ||
      list.number("nr_blocks", max_u64) != block.discard_nr_blocks) {
    list.refuse("<discards> a second time, and not as the first time");
  }
  return list.finish();
}

fault xml_elements::start_discard(const char *const *attributes) {
  attribute_list list{"discard", attributes};
  const std::uint64_t begin = list.number("dbegin", max_u64);
  const std::uint64_t end = list.number("dend", max_u64);
  if (knows_discard_size_ && end > contents_->described().discard_nr_blocks) {
    list.refuse(fmt::format("discard block {} is beyond nr_blocks", end - 1));
  }
  fault wrong = list.finish();
  return wrong ? wrong : contents_->add_discards(begin, end);
}

} // namespace dmcache
