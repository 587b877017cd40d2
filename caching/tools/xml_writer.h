// The XML dialect of cache_dump, as text. xml-schema/cache.rng describes it.
//
// What thin-provisioning-tools can't say stands in comments that begin with "dmcache:", which its
// releases pass over: attributes that the superblock has besides, and the discards. No comment gets
// longer than xml_reader.h takes: the discards go on in another one.
//
// A dump of a large cache is hundreds of megabytes of lines that differ in their numbers only, so
// that numbers are formatted here, straight into the output buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/output_file.h"
#include "caching/metadata/mapping_reader.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

// Each section is begun and ended by its caller, in this order: superblock (mappings (mapping…),
// hints (hint…), discards (discard…) or none).
class xml_writer {
 public:
  // `to` must outlive this.
  explicit xml_writer(output_file &to);

  void begin_superblock(const superblock &block);
  void begin_mappings() { text("  <mappings>\n"); }
  void add(const mapping &each);
  void end_mappings() { text("  </mappings>\n"); }
  void begin_hints() { text("  <hints>\n"); }
  void add_hint(cache_block block, le32 hint);
  void end_hints() { text("  </hints>\n"); }
  void begin_discards(const superblock &block);
  void add_discard(std::uint64_t begin, std::uint64_t end);
  void end_discards() { text("  </discards>\n  -->\n"); }
  void end_superblock() { text("</superblock>\n"); }

  // Hands all that was written to the output. Returns the first failure on the way there.
  result<> finish();

 private:
  static constexpr std::size_t discards_per_comment = 10000;

  void text(std::string_view some);
  void number(std::uint64_t value);
  void make_room();
  void begin_comment_of_discards();

  void write(std::size_t count);
  std::size_t used() const { return static_cast<std::size_t>(next_ - buffer_.data()); }

  output_file &to_;
  std::span<char> buffer_; // the output's
  char *next_;
  std::uint64_t discard_block_size_ = 0;
  std::uint64_t discard_nr_blocks_ = 0;
  std::size_t nr_discards_ = 0; // in the present comment
  result<> outcome_;
};

} // namespace dmcache
