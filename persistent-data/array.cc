#include "persistent-data/array.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/assert.h"

namespace dmcache {

array::array(transaction_manager &in, std::size_t value_size)
    : in_{in}, value_size_{value_size}, per_block_{array_max_entries(value_size)},
      tree_{in, sizeof(le64)} {
  require(value_size == sizeof(le32) || value_size == sizeof(le64),
          "values of an array are 32 or 64 bits wide");
}

result<metadata_block> array::block_of(metadata_block root, std::uint64_t part) {
  const auto found = tree_.find(root, part);
  if (!found) {
    return std::unexpected{found.error()};
  }
  if (!*found) {
    return fail(failure::failed, fmt::format("block {}: the array has no block {}", root, part));
  }
  return metadata_block{**found};
}

result<> array::load_tree(metadata_block root) {
  return tree_.visit(root, [](std::uint64_t /*part*/, std::uint64_t /*where*/) {});
}

result<array::rewritten> array::rewrite_block(metadata_block root, std::uint64_t part,
                                              std::uint64_t nr_entries) {
  require(nr_entries <= per_block_, "an array block has no room for more");
  const auto old = tree_.find(root, part);
  if (!old) {
    return std::unexpected{old.error()};
  }
  const bool is_new = *old && in_.is_new(metadata_block{**old});
  const auto block =
      is_new ? in_.shadow(array_block_type, metadata_block{**old}) : in_.add(array_block_type);
  if (!block) {
    return std::unexpected{block.error()};
  }
  result<metadata_block> at = root;
  if (!is_new) {
    at = tree_.insert(root, part, block->where().value());
    if (!at) {
      return std::unexpected{at.error()};
    }
    if (*old) {
      in_.release(metadata_block{**old});
    }
  }
  const array_block_header header{.checksum = {},
                                  .max_entries = static_cast<std::uint32_t>(per_block_),
                                  .nr_entries = static_cast<std::uint32_t>(nr_entries),
                                  .value_size = static_cast<std::uint32_t>(value_size_),
                                  .block_number = {}};
  std::ranges::fill(block->data(), std::byte{});
  std::memcpy(block->data().data(), &header, sizeof header);
  return rewritten{*at, block->data().subspan(sizeof header, nr_entries * value_size_)};
}

result<metadata_block> array::cut(metadata_block root, std::uint64_t nr_parts) {
  result<metadata_block> at = root;
  while (at) {
    const auto last = tree_.last_key(*at);
    if (!last) {
      return std::unexpected{last.error()};
    }
    if (!*last || **last < nr_parts) {
      break;
    }
    const auto where = block_of(*at, **last);
    if (!where) {
      return where;
    }
    in_.release(*where);
    at = tree_.remove(*at, **last);
  }
  return at;
}

result<> array::destroy(metadata_block root) {
  if (auto done =
          tree_.visit(root, [&](std::uint64_t /*part*/,
                                std::uint64_t where) { in_.release(metadata_block{where}); });
      !done) {
    return done;
  }
  return tree_.destroy(root);
}

} // namespace dmcache
