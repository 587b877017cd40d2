#include "caching/tools/lost_superblock.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "caching/metadata/mapping_writer.h"
#include "caching/metadata/root_search.h"
#include "caching/metadata/state_search.h"
#include "caching/metadata/superblock_mend.h"
#include "persistent-data/array_reader.h"
#include "persistent-data/space_map_reader.h"

namespace dmcache {

namespace {

// Do the roots that it names lead to trees of its cache?
class device_view {
 public:
  device_view(device &from, report &to) : from_{from}, to_{to} {}

  // As far as their first blocks tell; or all but one of them do, and they are whole.
  bool confirms(const superblock &block) {
    const auto used = read_used_blocks(from_, metadata_block{block.space_map.bitmap_root});
    const bool is_space_map_right = used && is_used(*used, block.space_map.bitmap_root);
    const bool names_what_is_used = is_space_map_right && is_used(*used, block.mapping_root) &&
                                    (!block.has_dirty_bitset() || is_used(*used, block.dirty_root));
    if (names_what_is_used && is_array(metadata_block{block.mapping_root}, block.cache_blocks)) {
      return true;
    }
    const std::size_t nr_damaged = nr_damaged_trees(block);
    return names_what_is_used ? nr_damaged <= 1 : !is_space_map_right && nr_damaged == 0;
  }

  // Does a tree of arrays of 64-bit entries stand there, and has it room for just so many?
  bool is_array(metadata_block root, std::uint64_t nr_entries) {
    const auto nr_lost = nr_lost_of(root, nr_entries, sizeof(le64));
    return nr_lost && *nr_lost < nr_entries;
  }

 private:
  static bool is_used(const std::vector<bool> &used, std::uint64_t block) {
    return block < used.size() && used[block];
  }

  // How many entries of a tree of arrays can't be read; nothing if it contradicts the number or size
  // of its entries.
  std::optional<std::uint64_t> nr_lost_of(metadata_block root, std::uint64_t nr_entries,
                                          std::size_t value_size) {
    class counter final : public damage_sink {
     public:
      void found(const damage &finding) override {
        contradicts = contradicts || !finding.lost;
        nr_lost += finding.lost ? finding.lost->end - finding.lost->begin : 0;
      }
      bool contradicts = false;
      std::uint64_t nr_lost = 0;
    };
    if (root.value() == superblock_location.value()) {
      return {};
    }
    block_usage usage{from_.size()};
    counter damage;
    const walk_context context{from_, usage, damage, to_.watcher()};
    array_reader entries{context,
                         {.root = root,
                          .value_size = value_size,
                          .nr_entries = nr_entries,
                          .kind = {structure::mappings, true},
                          .lost_limit = nr_entries}};
    while (entries.next()) {
    }
    return damage.contradicts ? std::nullopt : std::optional{damage.nr_lost};
  }

  // How many of the trees that it names are not whole, or no such trees.
  std::size_t nr_damaged_trees(const superblock &block) {
    const auto is_damaged = [&](std::uint64_t root, std::uint64_t nr_entries,
                                std::size_t value_size) {
      return nr_lost_of(metadata_block{root}, nr_entries, value_size) != 0 ? 1U : 0U;
    };
    std::size_t count =
        is_damaged(block.mapping_root, block.cache_blocks, sizeof(le64)) +
        is_damaged(block.discard_root, words_for(block.discard_nr_blocks), sizeof(le64));
    if (block.has_dirty_bitset()) {
      count += is_damaged(block.dirty_root, words_for(block.cache_blocks), sizeof(le64));
    }
    if (block.hint_root != 0) {
      count += is_damaged(block.hint_root, block.cache_blocks, sizeof(le32));
    }
    return count;
  }

  device &from_;
  report &to_;
};

void clear_discards(superblock &block) {
  block.discard_block_size = 0;
  block.discard_nr_blocks = 0;
}

// Finds a superblock with a valid checksum, or stands in for one.
class superblock_finder {
 public:
  superblock_finder(device &from, const cache_facts &known, bool use_stale, report &to)
      : from_{from}, known_{known}, use_stale_{use_stale}, to_{to} {}

  result<superblocks> find() {
    auto found = read_superblock(from_);
    if (found) {
      return mended(*found);
    }
    const auto remains = read_first_block_as_is(from_);
    if (remains && remains->incompat_flags != 0 && is_sealed(*remains)) {
      return std::unexpected{found.error()};
    }
    if (!remains && from_.size().value() < metadata_block_size) {
      return std::unexpected{found.error()};
    }
    to_.problem(found.error().message);
    if (remains && is_sealed(*remains)) {
      return mend_identity(*remains, found.error());
    }
    if (remains) {
      const auto changed = mend_one_byte(*remains);
      if (changed && is_plausible(*changed) && device_view{from_, to_}.confirms(*changed)) {
        return take_mended(*changed, "one byte of the superblock is wrong: by its checksum and by "
                                     "what is on the device all others can be believed");
      }
    }
    auto searched = search(remains);
    if (searched) {
      searched->device_failed = !remains || is_any_unreadable_;
    } else if (!remains || is_any_unreadable_) {
      searched.error().kind = failure::environment;
    }
    return searched;
  }

 private:
  static bool is_sealed(const superblock &block) {
    return fault_of(superblock_type, superblock_location,
                    std::as_bytes(std::span<const superblock, 1>{&block, 1})) == nullptr;
  }

  // What is wrong with the fields of a superblock that is valid as a whole.
  result<superblocks> mended(const superblock &found) {
    cache_facts known = known_;
    superblock input = found;
    if (!is_legal_data_block_size(found.data_block_size)) {
      if (auto size = mend_block_size(input); !size) {
        return std::unexpected{size.error()};
      }
      known.data_block_size = {};
    }
    if (auto agrees = agree(known, input, "the superblock is sound"); !agrees) {
      return std::unexpected{agrees.error()};
    }
    mend_discards(input);
    return superblocks{input, output_of(input), faults_of(found)};
  }

  static superblock output_of(const superblock &input) {
    superblock output = input;
    mend_policy(output);
    output.metadata_block_size = metadata_block_size / sector_size;
    return output;
  }

  result<> mend_block_size(superblock &input) {
    const std::uint64_t discard_size = input.discard_block_size;
    if (known_.data_block_size) {
      input.data_block_size = *known_.data_block_size;
      return {};
    }
    if (is_legal_data_block_size(discard_size)) {
      input.data_block_size = static_cast<std::uint32_t>(discard_size);
      if (is_block_size_confirmed(input)) {
        to_.problem(
            fmt::format("took a block size of {} sectors, as the discards have it", discard_size));
        return {};
      }
    }
    return fail(failure::failed, "without a block size nothing can be repaired: give --block-size");
  }

  void mend_discards(superblock &input) {
    const std::uint64_t nr_blocks = input.discard_nr_blocks;
    const std::uint64_t size = input.discard_block_size;
    if (nr_blocks > max_discard_blocks || (size == 0) != (nr_blocks == 0)) {
      to_.problem(fmt::format("the discards are left out, which cost no data: {} discard blocks of "
                              "{} sectors can't be",
                              nr_blocks, size));
      clear_discards(input);
    }
  }

  // A superblock whose checksum is right says what it is by that.
  result<superblocks> mend_identity(superblock block, const error &why) {
    block.magic = superblock::magic_value;
    if (block.version != 1 && block.version != 2) {
      device_view view{from_, to_};
      const bool has_bitset =
          view.is_array(metadata_block{block.dirty_root}, words_for(block.cache_blocks));
      if (!has_bitset && block.dirty_root != 0) {
        block.flags = block.flags & ~superblock::clean_shutdown;
      }
      block.version = block.dirty_root != 0 ? 2 : 1;
      to_.problem(fmt::format("took it for version {}, as the dirty bits are {}",
                              std::uint32_t{block.version},
                              block.version == 2 ? "in a bitset" : "in no bitset"));
    }
    if (block.cache_blocks == 0 || !device_view{from_, to_}.confirms(block)) {
      return std::unexpected{why};
    }
    return mended(block);
  }

  // Takes a superblock whose checksum was wrong, and so doesn't believe that the cache is clean.
  result<superblocks> take_mended(superblock block, const char *why) {
    if (auto agrees = agree(known_, block, "the superblock can still be read"); !agrees) {
      return std::unexpected{agrees.error()};
    }
    to_.problem(why);
    block.flags = block.flags & ~superblock::clean_shutdown;
    superblock output = output_of(block);
    clear_discards(output);
    return superblocks{block, output, {}};
  }

  result<superblocks> search(const std::optional<superblock> &remains) {
    const block_survey survey =
        survey_blocks(from_, to_.watcher(), [&](auto, auto) { is_any_unreadable_ = true; });
    state_search states{from_, survey, to_.watcher()};
    const bool is_named = remains && is_named_by(*remains, states);
    if (is_named && is_plausible(*remains) && is_block_size_confirmed(*remains)) {
      return take_mended(*remains, "what is left of the superblock fits what is on the device");
    }
    cache_facts facts = known_;
    if (remains && is_named) {
      if (known_.cache_blocks && *known_.cache_blocks != remains->cache_blocks) {
        return contradicted_by_remains(remains->cache_blocks);
      }
      facts.cache_blocks = remains->cache_blocks;
    }
    if (!facts.cache_blocks || !facts.data_block_size) {
      return fail(failure::failed, what_to_give(states, facts));
    }
    if (auto fits = agree_on_fast_device(known_, *facts.cache_blocks, *facts.data_block_size);
        !fits) {
      return std::unexpected{fits.error()};
    }
    root_search roots{from_, survey, *facts.cache_blocks, to_.watcher()};
    is_any_unreadable_ = is_any_unreadable_ || roots.has_io_error();
    auto choice = is_named ? named(roots, *remains) : roots.choose(states);
    if (!choice) {
      return fail(failure::failed,
                  fmt::format("the superblock is lost, and no mapping tree of {} cache blocks can "
                              "be found{}",
                              *facts.cache_blocks, sizes_found(states)));
    }
    if (remains && remains->magic == superblock::magic_value &&
        is_legal_data_block_size(remains->data_block_size) &&
        remains->data_block_size != facts.data_block_size) {
      choice->doubt.push_back(fmt::format("what is left of the superblock says a block size of {} "
                                          "sectors, which contradicts --block-size",
                                          std::uint32_t{remains->data_block_size}));
    }
    const metadata_block root = roots.candidates().at(choice->best).root;
    const std::uint64_t nr_words = states.discard_words_beside(root);
    if (auto fits = nr_words == 0 ? result<>{}
                                  : agree_on_discards(known_, nr_words, *facts.data_block_size);
        !fits) {
      return std::unexpected{fits.error()};
    }
    return take(roots, *choice, facts);
  }

  static std::unexpected<error> contradicted_by_remains(std::uint32_t cache_blocks) {
    return fail(failure::failed,
                fmt::format("what is left of the superblock says {} cache blocks, and so does the "
                            "mapping tree that it names: --nr-cache-blocks contradicts them",
                            cache_blocks));
  }

  // Does it name a whole state by its space map and its mappings, and know their number?
  static bool is_named_by(const superblock &remains, const state_search &states) {
    const metadata_state *state = states.state_at(metadata_block{remains.space_map.bitmap_root});
    return remains.magic == superblock::magic_value && state != nullptr &&
           state->mapping_root.value() == remains.mapping_root && state->cache_blocks != 0 &&
           state->cache_blocks == remains.cache_blocks;
  }

  static std::optional<root_search::choice> named(const root_search &roots,
                                                  const superblock &remains) {
    const auto named = roots.find(metadata_block{remains.mapping_root});
    return named ? std::optional{root_search::choice{
                       *named,
                       "what is left of the superblock names it, and a space map that agrees",
                       {}}}
                 : std::nullopt;
  }

  static std::string sizes_found(const state_search &states) {
    const std::vector<std::uint64_t> sizes = states.sizes();
    return sizes.empty() ? std::string{}
                         : fmt::format(": there are mappings of {} cache blocks on the device",
                                       fmt::join(sizes, ", "));
  }

  static std::string what_to_give(const state_search &states, const cache_facts &facts) {
    std::string text = "the superblock is lost: cache_repair can search for the mappings if "
                       "--block-size and --nr-cache-blocks are given";
    if (facts.cache_blocks) {
      text =
          fmt::format("the superblock is lost, and nothing on the device tells the block size of "
                      "its {} cache blocks: give --block-size",
                      *facts.cache_blocks);
    }
    return text + (facts.cache_blocks ? "" : sizes_found(states));
  }

  result<superblocks> take(const root_search &roots, const root_search::choice &choice,
                           const cache_facts &facts) {
    const root_candidate &best = roots.candidates().at(choice.best);
    for (const std::string &doubt : choice.doubt) {
      to_.problem(doubt);
    }
    if (!choice.doubt.empty() && !use_stale_) {
      return fail(failure::failed,
                  fmt::format("which mapping tree was in force is in doubt: --list-roots shows "
                              "them, and --use-stale takes the one at block {} all the same",
                              best.root));
    }
    if (best.has_dirty_flags && facts.version == 2) {
      return fail(failure::failed, fmt::format("the mapping tree at block {} has dirty flags, as "
                                               "metadata of version 1 have them",
                                               best.root));
    }
    to_.problem(fmt::format("took the mapping tree at block {}, which maps {} of {} cache blocks{}",
                            best.root, best.nr_mapped, *facts.cache_blocks,
                            choice.reason.empty() ? "" : ": " + choice.reason));
    const auto kib = *facts.data_block_size / 2;
    to_.problem(is_confirmed_by_fast_device(facts, *facts.cache_blocks, *facts.data_block_size)
                    ? fmt::format("the size of the fast device confirms blocks of {} KiB", kib)
                    : fmt::format("nothing confirms blocks of {} KiB, and if they are of another "
                                  "size, every mapping is wrong: --fast-device holds this against "
                                  "the size of the fast device",
                                  kib));
    superblocks made{};
    // Version 1 has mappings and dirty flags in one tree, so that nothing else is needed.
    made.input = superblock_of_tree(best.root, *facts.cache_blocks, 1);
    made.input.data_block_size = *facts.data_block_size;
    made.output = made.input;
    made.output.version = facts.version.value_or(best.has_dirty_flags ? 1 : 2);
    const std::string policy = facts.policy.value_or("");
    std::ranges::copy(policy, made.output.policy_name.begin());
    std::ranges::copy(own_version_of_policy(policy), made.output.policy_version.begin());
    return made;
  }

  device &from_;
  const cache_facts &known_;
  bool use_stale_;
  report &to_;
  bool is_any_unreadable_ = false;
};

} // namespace

result<superblocks> find_superblocks(device &from, const cache_facts &known, bool use_stale,
                                     report &to) {
  return superblock_finder{from, known, use_stale, to}.find();
}

} // namespace dmcache
