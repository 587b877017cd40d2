#include "persistent-data/array_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace dmcache {

array_reader::array_reader(const walk_context &context, const array_description &array)
    : context_{context}, array_{array}, per_block_{array_max_entries(array.value_size)} {
  const std::uint64_t limit =
      array.nr_entries ? divided_up(*array.nr_entries, per_block_) : context.usage.nr_blocks();
  tree_ = walk_btree(context, {.root = array.root,
                               .value_size = sizeof(le64),
                               .key_limit = limit,
                               .kind = array.kind,
                               .lost_per_key = per_block_ * array.lost_per_entry,
                               .lost_limit = array.lost_limit});
  report_gaps();
  claim_blocks();
  context.watcher.expect("reading metadata", tree_.entries.size());
}

// Tells of array blocks that the tree has no entry for, unless the damage that took them was told.
void array_reader::report_gaps() {
  const std::uint64_t end = array_.nr_entries       ? divided_up(*array_.nr_entries, per_block_)
                            : tree_.entries.empty() ? 0
                                                    : tree_.entries.back().key + 1;
  auto lost = tree_.lost.begin();
  std::uint64_t expected = 0;
  const auto skip_lost = [&] {
    for (; lost != tree_.lost.end() && lost->begin <= expected; ++lost) {
      expected = std::max(expected, lost->end);
    }
  };
  const auto report_up_to = [&](std::uint64_t key) {
    for (skip_lost(); expected < key; skip_lost()) {
      const std::uint64_t gap_end = lost == tree_.lost.end() ? key : std::min(key, lost->begin);
      report(array_.root, fmt::format("{}", array_.root),
             fmt::format("the tree has no entry for array blocks {}-{}", expected, gap_end - 1),
             key_range{expected * per_block_, gap_end * per_block_});
      expected = gap_end;
    }
  };
  for (const btree_contents::entry &entry : tree_.entries) {
    report_up_to(entry.key);
    expected = entry.key + 1;
  }
  report_up_to(end);
}

void array_reader::claim_blocks() {
  std::erase_if(tree_.entries, [&](const btree_contents::entry &entry) {
    const auto refused = context_.usage.claim(metadata_block{entry.value}, array_.kind.part);
    if (refused) {
      context_.usage.forget_completeness();
      report(tree_.node_of(entry), tree_.path_to(entry), *refused,
             key_range{entry.key * per_block_, (entry.key + 1) * per_block_});
    }
    return refused.has_value();
  });
}

std::uint64_t array_reader::expected_in(std::uint64_t index) const {
  return std::min(*array_.nr_entries - index * per_block_, per_block_);
}

std::optional<array_reader::leaf> array_reader::next() {
  if (!blocks_) {
    blocks_.emplace(context_.from, tree_.entries.size(),
                    [this](std::size_t i) { return metadata_block{tree_.entries[i].value}; });
  }
  while (const auto block = blocks_->next()) {
    current_ = block->position;
    context_.watcher.advance(1);
    if (auto readable = believe(tree_.entries[current_], *block)) {
      return readable;
    }
  }
  return {};
}

std::optional<array_reader::leaf> array_reader::believe(const btree_contents::entry &entry,
                                                        const block_stream::item &block) {
  const std::uint64_t first = entry.key * per_block_;
  const key_range whole{first, first + per_block_};
  if (block.error) {
    report(block.where, path(), block.error.message(), whole, true);
    return {};
  }
  if (const char *fault = fault_of(array_block_type, block.where, block.data)) {
    report(block.where, path(), fault, whole);
    return {};
  }
  array_block_header header;
  std::memcpy(&header, block.data.data(), sizeof header);
  if (header.value_size != array_.value_size || header.max_entries != per_block_ ||
      header.nr_entries > per_block_) {
    report(block.where, path(),
           fmt::format("{} of {} entries of {} bytes, where an array block has up to {} of {}",
                       std::uint32_t{header.nr_entries}, std::uint32_t{header.max_entries},
                       std::uint32_t{header.value_size}, per_block_, array_.value_size),
           whole);
    return {};
  }
  std::uint64_t count = header.nr_entries;
  const bool is_last = &entry == &tree_.entries.back();
  const std::uint64_t expected = array_.nr_entries ? expected_in(entry.key)
                                 : is_last         ? count
                                                   : per_block_;
  if (count != expected) {
    const bool too_few = count < expected;
    report(block.where, path(), fmt::format("{} entries where {} are expected", count, expected),
           too_few ? std::optional{key_range{first + count, first + expected}} : std::nullopt);
    count = std::min(count, expected);
  }
  return leaf{first, count, block.where,
              block.data.subspan(sizeof header, count * array_.value_size)};
}

std::string array_reader::path() const {
  const btree_contents::entry &entry = tree_.entries[current_];
  return fmt::format("{} -> {}", tree_.path_to(entry), entry.value);
}

void array_reader::report(metadata_block where, std::string path, std::string fault,
                          std::optional<key_range> entries, bool io_error) {
  damage found{array_.kind.part, array_.kind.fatal, where, std::move(path), std::move(fault), {},
               io_error};
  if (entries) {
    found.lost = scaled(*entries, array_.lost_per_entry, array_.lost_limit);
  }
  context_.sink.found(found);
}

} // namespace dmcache
