#include "caching/metadata/clean_sample.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "base/zeroes.h"

namespace dmcache {
namespace {

constexpr std::uint64_t compared = 4096; // bytes of a block, of which there are 32 KiB at least

// Reads that part of all blocks at once.
class parts final : private io_listener {
 public:
  explicit parts(std::size_t count) : data_{count * compared} {}

  std::error_code read(device &from, const std::vector<bytes> &offsets) {
    std::vector<io_request> requests;
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      requests.push_back({.op = io_request::operation::read,
                          .offset = offsets[i],
                          .data = part(i),
                          .listener = this,
                          .tag = i});
    }
    nr_open_ = requests.size();
    from.submit(requests);
    while (nr_open_ != 0) {
      from.wait();
    }
    return error_;
  }
  std::span<std::byte> part(std::size_t index) {
    return data_.span().subspan(index * compared, compared);
  }

 private:
  void io_done(std::uint64_t /*tag*/, std::error_code error) override {
    --nr_open_;
    error_ = error_ ? error_ : error;
  }

  aligned_buffer data_;
  std::size_t nr_open_ = 0;
  std::error_code error_;
};

// Another part of each block, lest all of them are something that all disks have there.
bytes place_in(const clean_block &block, bytes block_size) {
  const std::uint64_t nr_parts = block_size.value() / compared;
  return bytes{(block.cached_in.value() * 7 + 3) % nr_parts * compared};
}

} // namespace

std::vector<clean_block>
sample_of(std::uint64_t nr_cache_blocks,
          const std::function<std::optional<origin_block>(cache_block)> &clean_at) {
  std::vector<clean_block> sample;
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < max_clean_sample && next < nr_cache_blocks; ++i) {
    next = std::max(next, i * nr_cache_blocks / max_clean_sample);
    std::optional<origin_block> origin;
    for (; !origin && next < nr_cache_blocks; ++next) {
      origin = clean_at(cache_block{next});
    }
    if (origin) {
      sample.push_back({cache_block{next - 1}, *origin});
    }
  }
  return sample;
}

result<> check_sample(const sampled_devices &on, const std::vector<clean_block> &sample) {
  parts fast{sample.size()};
  parts origin{sample.size()};
  std::vector<bytes> on_fast;
  std::vector<bytes> on_origin;
  for (const clean_block &each : sample) {
    const bytes within = place_in(each, on.block_size);
    on_fast.push_back(within + each.cached_in.value() * on.block_size.value());
    on_origin.push_back(within + each.origin.value() * on.block_size.value());
  }
  if (const auto error = fast.read(on.fast, on_fast)) {
    return fail(failure::environment,
                fmt::format("the fast device can't be read: {}", error.message()));
  }
  if (const auto error = origin.read(on.origin, on_origin)) {
    return fail(failure::environment, fmt::format("the origin can't be read: {}", error.message()));
  }
  std::size_t nr_differing = 0;
  std::size_t nr_zero = 0; // on the origin alone
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const bool is_same = std::ranges::equal(fast.part(i), origin.part(i));
    const bool is_gone = !is_same && is_all_zero(origin.part(i));
    nr_zero += is_gone ? 1U : 0U;
    nr_differing += is_same ? 0U : 1U;
  }
  const bool is_evidence = nr_differing != nr_zero || nr_zero > sample.size() / 4;
  if (!is_evidence) {
    return {};
  }
  return fail(
      failure::failed,
      fmt::format("{} of {} blocks that are clean in the cache differ from the origin: either "
                  "these are not the devices of this cache, or in other places, or the origin "
                  "was written to without the cache",
                  nr_differing, sample.size()));
}

} // namespace dmcache
