#include "caching/tools/dump.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "caching/metadata/metadata_reader.h"
#include "caching/tools/damage_report.h"
#include "caching/tools/mended_tree.h"
#include "caching/tools/xml_writer.h"

namespace dmcache {
namespace {

// Writes what it visits. A mapping that more than one cache block claims is left out.
class dumper final : public metadata_visitor {
 public:
  dumper(xml_writer &out, const superblock &block, const std::optional<origin_block_set> &ambiguous)
      : out_{out}, superblock_{block}, ambiguous_{ambiguous} {}

  void begin() {
    out_.begin_superblock(superblock_);
    out_.begin_mappings();
  }

  void mappings(std::span<const mapping> some) override {
    for (const mapping &each : some) {
      if (ambiguous_ && ambiguous_->contains(each.origin)) [[unlikely]] {
        continue;
      }
      mark_mapped(each.cached_in);
      origin_end_ = std::max(origin_end_, each.origin.value() + 1);
      out_.add(each);
    }
  }

  void end_of_mappings() override {
    out_.end_mappings();
    out_.begin_hints();
  }

  void hints(cache_block first, std::span<const le32> some) override {
    for (std::size_t i = 0; i < some.size(); ++i) {
      const cache_block block = first + i;
      if (is_mapped(block)) {
        out_.add_hint(block, some[i]);
      }
    }
  }

  void end_of_hints() override { out_.end_hints(); }

  void discards(std::uint64_t begin, std::uint64_t end) override {
    if (!are_discards_plausible()) {
      has_dropped_discards_ = true;
      return;
    }
    if (!has_discards_) {
      out_.begin_discards(superblock_);
      has_discards_ = true;
    }
    out_.add_discard(begin, end);
  }

  void end_of_discards() override {
    if (has_discards_) {
      out_.end_discards();
    }
    out_.end_superblock();
  }

  bool has_dropped_discards() const { return has_dropped_discards_; }

 private:
  static constexpr std::uint64_t word_bits = 64;

  // The bits grow with the mappings that are really there, not with what the superblock says.
  void mark_mapped(cache_block block) {
    const std::size_t word = block.value() / word_bits;
    if (word >= mapped_.size()) {
      mapped_.resize(word + 1);
    }
    mapped_[word] |= std::uint64_t{1} << block.value() % word_bits;
  }

  bool is_mapped(cache_block block) const {
    const std::size_t word = block.value() / word_bits;
    return word < mapped_.size() && (mapped_[word] >> block.value() % word_bits & 1) != 0;
  }

  // Discards that contradict the mappings are the cheaper ones to lose.
  bool are_discards_plausible() const {
    return superblock_.discard_block_size != 0 && superblock_.discard_nr_blocks != 0 &&
           origin_end_ <= superblock_.max_origin_blocks();
  }

  xml_writer &out_;
  const superblock &superblock_;
  const std::optional<origin_block_set> &ambiguous_;
  std::vector<std::uint64_t> mapped_; // a bit per cache block
  std::uint64_t origin_end_ = 0;      // one past the last origin block
  bool has_discards_ = false;
  bool has_dropped_discards_ = false;
};

class dump_run {
 public:
  dump_run(metadata_device metadata, const dump_options &options, report &to)
      : options_{options}, metadata_{std::move(metadata)}, to_{to} {}

  result<> run(const open_output &open) {
    if (auto looked = look(); !looked) {
      return looked;
    }
    auto output = open();
    if (!output) {
      return std::unexpected{output.error()};
    }
    if (auto written = write(*output); !written) {
      return written;
    }
    if (auto complete = output->commit(); !complete || !device_failed_) {
      return complete;
    }
    return fail(failure::environment,
                "the dump is written, but for what is lost as the device can't be read everywhere");
  }

 private:
  // Reads everything that the dump will say, before a word of it is written.
  result<> look() {
    damage_report damage{to_};
    for (const std::string &fault : faults_of(metadata_.block)) {
      damage.found({structure::superblock, true, superblock_location, "", fault, {}});
    }
    const std::uint64_t nr_faults = damage.nr_found();
    if (options_.repair) {
      mended_.emplace(*metadata_.from, metadata_.block, to_);
    }
    metadata_visitor nobody;
    ambiguous_ = read(damage, nobody);
    if (damage.nr_found() == 0) {
      return {};
    }
    nr_damaged_ = damage.nr_found() - nr_faults;
    device_failed_ = damage.has_io_error();
    damage.explain();
    if (!options_.repair) {
      return fail(device_failed_ ? failure::environment : failure::failed,
                  "nothing was dumped; --repair dumps what can be read");
    }
    return mend_superblock();
  }

  // What can't be believed of the superblock must not get into the document, which will be.
  result<> mend_superblock() {
    if (!is_legal_data_block_size(metadata_.block.data_block_size)) {
      return fail(failure::failed, "without a block size nothing can be dumped");
    }
    mend_policy(metadata_.block);
    return {};
  }

  std::optional<origin_block_set> read(damage_sink &sink, metadata_visitor &visitor) {
    // Hints and discards are not to be trusted without a clean shutdown.
    const bool trusted = metadata_.block.is_clean() || options_.as_stored;
    const reading wanted{.meaning = options_.as_stored ? dirty_meaning::as_stored
                                                       : dirty_meaning::true_state,
                         .hints = trusted && metadata_.block.policy_hint_size != 0,
                         .discards = trusted};
    if (mended_) {
      return mended_->read(sink, wanted, visitor);
    }
    block_usage usage{metadata_.from->size()};
    return read_metadata({*metadata_.from, usage, sink, to_.watcher()}, metadata_.block, wanted,
                         visitor);
  }

  result<> write(output_file &output) {
    xml_writer out{output};
    dumper visitor{out, metadata_.block, ambiguous_};
    damage_counter again; // what is damaged was told in the first pass
    visitor.begin();
    read(again, visitor);
    if (again.nr_found() > nr_damaged_) {
      return fail(failure::environment, "the metadata changed, or its device failed, while it was "
                                        "being dumped");
    }
    if (visitor.has_dropped_discards()) {
      to_.problem("discards are left out: what the superblock says of their blocks contradicts the "
                  "mappings");
    }
    return out.finish();
  }

  const dump_options &options_;
  metadata_device metadata_;
  report &to_;
  std::optional<mended_tree> mended_; // to repair
  std::optional<origin_block_set> ambiguous_;
  std::uint64_t nr_damaged_ = 0; // as the first pass found it
  bool device_failed_ = false;   // in it, rather than its contents being wrong
};

} // namespace

result<> dump(metadata_device metadata, const dump_options &options, const open_output &open,
              report &to) {
  return dump_run{std::move(metadata), options, to}.run(open);
}

} // namespace dmcache
