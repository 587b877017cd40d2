#include "caching/sizing/size_advisor.h"

#include <cmath>

namespace dmcache {
namespace {

constexpr std::uint64_t seconds_of_a_day = 86400;
// Below, the curve still bends with each block that happens to be a sample.
constexpr std::uint64_t nr_samples_needed = 10 * std::uint64_t{miss_ratio_curve::max_samples};

struct fraction {
  std::uint64_t of;
  std::uint64_t by;
};
constexpr std::array<fraction, 5> sizes_of_copies{{{1, 4}, {1, 2}, {1, 1}, {2, 1}, {4, 1}}};

std::uint64_t scaled(std::uint64_t nr_blocks, const fraction &factor) {
  return std::max<std::uint64_t>(1, nr_blocks * factor.of / factor.by);
}

// As many as there are samples in a quarter of the cache: what is touched of a large one would leave no more
// of them anyway, and until then each touch of a sample costs more than a hit does.
double initial_share(std::uint64_t nr_cache_blocks) {
  return 4.0 * miss_ratio_curve::max_samples / static_cast<double>(nr_cache_blocks);
}

touch_counts shares(const touch_counts &part, const touch_counts &whole) {
  return {whole.reads > 0 ? part.reads / whole.reads : 0,
          whole.writes > 0 ? part.writes / whole.writes : 0};
}

} // namespace

size_advisor::size_advisor(const policy_geometry &of, const hit_totals &so_far)
    : geometry_{of}, curve_{initial_share(of.nr_cache_blocks)}, last_{so_far} {
  for (const fraction &each : sizes_of_copies) {
    copies_.emplace_back(
        policy_geometry{scaled(of.nr_cache_blocks, each), of.nr_origin_blocks, of.block_size});
  }
  update_limit();
}

void size_advisor::touch(origin_block block, promotion possible) {
  const std::uint64_t hash = sampling_hash(block);
  if (hash <= curve_.largest_hash()) {
    curve_.touch(hash, possible == promotion::by_copy);
    update_limit();
  }
  for (scaled_cache &each : copies_) {
    if (hash <= each.largest_hash()) {
      each.touch(hash, possible);
    }
  }
}

// The smallest copy follows the most blocks.
void size_advisor::update_limit() {
  largest_hash_ = std::max(curve_.largest_hash(), copies_.front().largest_hash());
}

void size_advisor::tick(std::uint64_t seconds, const hit_totals &so_far) {
  count(so_far);
  for (scaled_cache &each : copies_) {
    each.tick(seconds);
  }
  if (!last_halved_) {
    last_halved_ = seconds;
  } else if (seconds - *last_halved_ >= seconds_of_a_day) {
    last_halved_ = seconds;
    halve();
  }
}

// Differences are right although the totals wrap.
void size_advisor::count(const hit_totals &so_far) {
  const std::uint32_t read_misses = so_far.read_misses - last_.read_misses;
  const std::uint32_t write_misses = so_far.write_misses - last_.write_misses;
  const std::uint32_t read_hits = so_far.read_hits - last_.read_hits;
  const std::uint32_t write_hits = so_far.write_hits - last_.write_hits;
  seen_.reads += static_cast<double>(std::uint64_t{read_hits} + read_misses);
  seen_.writes += static_cast<double>(std::uint64_t{write_hits} + write_misses);
  missed_.reads += read_misses;
  missed_.writes += write_misses;
  last_ = so_far;
}

void size_advisor::halve() {
  seen_.halve();
  missed_.halve();
  curve_.halve();
  for (scaled_cache &each : copies_) {
    each.halve();
  }
}

void size_advisor::follow(const policy &live) {
  for (scaled_cache &each : copies_) {
    each.follow(live);
  }
}

void size_advisor::measured(const origin_read_times &times) {
  for (scaled_cache &each : copies_) {
    each.measured(times);
  }
}

size_advice size_advisor::advice() const {
  size_advice all{.block_size = geometry_.block_size,
                  .nr_blocks = geometry_.nr_cache_blocks,
                  .seen = seen_,
                  .missed = missed_,
                  .progress = std::min(1.0, static_cast<double>(curve_.nr_sampled()) /
                                                static_cast<double>(nr_samples_needed)),
                  .sizes = {},
                  .curve = {}};
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const std::uint64_t nr_blocks = scaled(geometry_.nr_cache_blocks, sizes_of_copies.at(i));
    all.sizes.push_back({nr_blocks, shares(curve_.misses(nr_blocks, seen_), seen_),
                         shares(copies_[i].misses(), copies_[i].touches())});
  }
  constexpr int octaves = 6;          // on either side of the cache's own size
  constexpr int points_of_octave = 4; // which are evenly spread on a logarithmic scale
  for (int i = -octaves * points_of_octave; i <= octaves * points_of_octave; ++i) {
    const double factor = std::exp2(double{1} * i / points_of_octave);
    const auto nr_blocks =
        static_cast<std::uint64_t>(static_cast<double>(geometry_.nr_cache_blocks) * factor);
    if (nr_blocks != 0 && (all.curve.empty() || all.curve.back().nr_blocks != nr_blocks)) {
      const double misses = curve_.misses(nr_blocks, seen_).all();
      all.curve.push_back({nr_blocks, seen_.all() > 0 ? misses / seen_.all() : 0});
    }
  }
  return all;
}

} // namespace dmcache
