#include "caching/tools/xml_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <span>
#include <string>

#include <fmt/format.h>

#include "base/zeroes.h"
#include "caching/tools/base64.h"

namespace dmcache {
namespace {

constexpr std::size_t longest_piece = 128; // of what is written between two looks for room

// What 0.9 says where there are no hints; it crashes when it is to restore any other width.
constexpr std::uint32_t classic_hint_width = 4;

template <std::size_t Size> std::string_view as_text(const std::array<char, Size> &characters) {
  return {characters.data(), characters.size()};
}

std::string uuid_of(const superblock &block) {
  return is_all_zero(block.uuid) ? "" : std::string{as_text(encode_base64(std::span{block.uuid}))};
}

// What the classic dialect has no attributes for: each only where something would be lost without
// it.
std::string extra_attributes(const superblock &block) {
  std::string extra;
  if (block.policy_hint_size == 0) {
    extra += " hint_width=\"0\"";
  }
  std::array<std::uint32_t, 3> version{};
  std::ranges::copy(block.policy_version, version.begin());
  if (version != own_version_of_policy(block.policy())) {
    extra += fmt::format(" policy_version=\"{}.{}.{}\"", version[0], version[1], version[2]);
  }
  const std::uint32_t read_hits = block.read_hits;
  const std::uint32_t read_misses = block.read_misses;
  const std::uint32_t write_hits = block.write_hits;
  const std::uint32_t write_misses = block.write_misses;
  if ((read_hits | read_misses | write_hits | write_misses) != 0) {
    extra +=
        fmt::format(" read_hits=\"{}\" read_misses=\"{}\" write_hits=\"{}\" write_misses=\"{}\"",
                    read_hits, read_misses, write_hits, write_misses);
  }
  return extra;
}

} // namespace

xml_writer::xml_writer(output_file &to) : to_{to}, buffer_{to.buffer()}, next_{buffer_.data()} {}

void xml_writer::begin_superblock(const superblock &block) {
  text(fmt::format("<superblock uuid=\"{}\" block_size=\"{}\" nr_cache_blocks=\"{}\" policy=\"{}\" "
                   "hint_width=\"{}\"",
                   uuid_of(block), std::uint32_t{block.data_block_size},
                   std::uint32_t{block.cache_blocks}, block.policy(),
                   block.policy_hint_size == 0 ? classic_hint_width
                                               : std::uint32_t{block.policy_hint_size}));
  text(">\n");
  make_room();
  if (const std::string extra = extra_attributes(block); !extra.empty()) {
    text("  <!-- dmcache: <superblock");
    text(extra);
    text("/> -->\n");
    make_room();
  }
}

void xml_writer::add(const mapping &each) {
  text("    <mapping cache_block=\"");
  number(each.cached_in.value());
  text("\" origin_block=\"");
  number(each.origin.value());
  text(each.dirty ? "\" dirty=\"true\"/>\n" : "\" dirty=\"false\"/>\n");
  make_room();
}

void xml_writer::add_hint(cache_block block, le32 hint) {
  text("    <hint cache_block=\"");
  number(block.value());
  text("\" data=\"");
  const auto raw = std::bit_cast<std::array<std::byte, sizeof hint>>(hint);
  const auto digits = encode_base64(std::span{raw});
  text(as_text(digits));
  text("\"/>\n");
  make_room();
}

void xml_writer::begin_discards(const superblock &block) {
  discard_block_size_ = block.discard_block_size;
  discard_nr_blocks_ = block.discard_nr_blocks;
  nr_discards_ = 0;
  begin_comment_of_discards();
}

void xml_writer::begin_comment_of_discards() {
  text("  <!-- dmcache:\n  <discards block_size=\"");
  number(discard_block_size_);
  text("\" nr_blocks=\"");
  number(discard_nr_blocks_);
  text("\">\n");
  make_room();
}

void xml_writer::add_discard(std::uint64_t begin, std::uint64_t end) {
  if (nr_discards_++ == discards_per_comment) {
    nr_discards_ = 1;
    end_discards();
    begin_comment_of_discards();
  }
  text("    <discard dbegin=\"");
  number(begin);
  text("\" dend=\"");
  number(end);
  text("\"/>\n");
  make_room();
}

void xml_writer::text(std::string_view some) {
  std::memcpy(next_, some.data(), some.size());
  next_ += some.size();
}

void xml_writer::number(std::uint64_t value) {
  constexpr std::size_t longest = 20;
  next_ = std::to_chars(next_, next_ + longest, value).ptr;
}

// Keeps room for the longest element that can come next. What is written is a multiple of the unit
// that goes past the page cache; the rest stays.
void xml_writer::make_room() {
  if (buffer_.size() - used() < 4 * longest_piece) {
    write(used() / io_alignment * io_alignment);
  }
}

result<> xml_writer::finish() {
  write(used());
  return outcome_;
}

// Hands the first `count` bytes on; the rest stays.
void xml_writer::write(std::size_t count) {
  const std::span rest{buffer_.data() + count, next_};
  if (outcome_) {
    outcome_ = to_.take(count);
  }
  buffer_ = to_.buffer();
  next_ = std::ranges::copy(rest, buffer_.data()).out;
}

} // namespace dmcache
