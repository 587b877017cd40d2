#include "functional-tests/exerciser/workload.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "base/crc32c.h"

namespace dmcache::exerciser {

workload::workload(target &on, sector_model &model, sectors block_size, std::uint64_t seed)
    : target_{on}, model_{model}, block_size_{block_size.value()}, chance_{seed} {
  for (std::uint64_t i = 0; i < max_batch; ++i) {
    buffers_.emplace_back(max_length * sector_size);
  }
}

void workload::fill() {
  for (std::uint64_t at = 0; at < model_.nr_sectors(); at += max_length) {
    add(request::operation::write, {at, std::min(at + max_length, model_.nr_sectors())});
    carry_out();
  }
  flush();
}

void workload::use(std::uint64_t nr_batches) {
  for (std::uint64_t i = 0; i < nr_batches; ++i) {
    for (std::uint64_t size = chance_() % max_batch + 1; size > 0; --size) {
      const sector_range where = some_range();
      const std::uint64_t kind = chance_() % 100;
      if (is_free(where)) {
        add(kind < 40   ? request::operation::read
            : kind < 94 ? request::operation::write
            : kind < 98 ? request::operation::write_zeroes
                        : request::operation::discard,
            where);
      }
    }
    carry_out();
    if (chance_() % 8 == 0) {
      flush();
    }
  }
}

// A third of the device is hot, so that the cache has something to keep.
sector_range workload::some_range() {
  const std::uint64_t size = model_.nr_sectors();
  const std::uint64_t within = chance_() % 4 == 0 ? size : size / 3;
  const std::uint64_t kind = chance_() % 8;
  const std::uint64_t unit = kind < 2 ? 1 : kind < 5 ? 8 : std::min(block_size_, max_length);
  const std::uint64_t length = kind < 5 ? (chance_() % 8 + 1) * unit : unit;
  const std::uint64_t begin = chance_() % within / unit * unit;
  return {begin, std::min(begin + length, size)};
}

bool workload::is_free(sector_range range) const {
  return std::ranges::none_of(ranges_, [&](const sector_range &taken) {
    return range.begin < taken.end && taken.begin < range.end;
  });
}

void workload::add(request::operation op, sector_range range) {
  operation &added = batch_.emplace_back();
  ranges_.push_back(range);
  added.op = op;
  added.offset = to_bytes(sectors{range.begin});
  added.length = to_bytes(sectors{range.end - range.begin});
  const auto data = buffers_[batch_.size() - 1].span().first(added.length.value());
  switch (op) {
  case request::operation::read:
    added.data = data;
    break;
  case request::operation::write:
    added.data = data;
    added.fua = chance_() % 16 == 0;
    stamp(data, range.begin, model_.will_write(range));
    break;
  case request::operation::write_zeroes:
    model_.will_zero(range);
    break;
  case request::operation::discard:
    model_.will_discard(range);
    break;
  case request::operation::flush:
  case request::operation::prefetch:
    break;
  }
}

void workload::carry_out() {
  model_.save();
  target_.carry_out(batch_);
  findings found;
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    if (batch_[i].op == request::operation::read) {
      look_at(batch_[i], sector_model::since::last_told, found);
    } else if (batch_[i].fua) {
      model_.made_durable(ranges_[i]);
    }
  }
  batch_.clear();
  ranges_.clear();
  if (found.wrong != 0) {
    throw std::runtime_error{found.first_wrong};
  }
}

void workload::flush() {
  operation flush;
  flush.op = request::operation::flush;
  target_.carry_out({&flush, 1});
  model_.made_all_durable();
  model_.save();
}

workload::findings workload::verify(sector_model::since last) {
  findings found;
  for (std::uint64_t at = 0; at < model_.nr_sectors();) {
    for (; at < model_.nr_sectors() && batch_.size() < max_batch; at += max_length) {
      add(request::operation::read, {at, std::min(at + max_length, model_.nr_sectors())});
    }
    target_.carry_out(batch_);
    for (const operation &each : batch_) {
      look_at(each, last, found);
    }
    batch_.clear();
    ranges_.clear();
  }
  model_.save();
  return found;
}

void workload::look_at(const operation &read, sector_model::since last, findings &into) {
  for (std::uint64_t i = 0; i < read.length.value() / sector_size; ++i) {
    const std::uint64_t sector = read.offset.value() / sector_size + i;
    const auto data = read.data.subspan(i * sector_size, sector_size);
    into.uncertain += model_.is_uncertain(sector) ? 1U : 0U;
    if (!model_.allows(sector, data, last) && into.wrong++ == 0) {
      into.first_wrong = fmt::format("sector {} holds what it must not", sector);
    }
    if (model_.is_discarded(sector)) {
      ++into.discarded;
    } else {
      into.checksum = into.checksum * 31 + crc32c(data);
    }
  }
}

} // namespace dmcache::exerciser
