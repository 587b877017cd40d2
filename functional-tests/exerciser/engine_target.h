// A cache that the engine runs on three files or block devices, as a target.
//
// The engine's runtime is simulated here: I/O is carried out one by one, in random order, on
// devices that forget what wasn't flushed, and time passes only when it is told to.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/device.h"
#include "caching/engine/cache_engine.h"
#include "functional-tests/exerciser/target.h"
#include "functional-tests/exerciser/volatile_file.h"

namespace dmcache::exerciser {

class engine_target final : public target {
 public:
  struct files {
    std::string metadata;
    std::string fast;
    std::string origin;
  };

  // Throws with the engine's reason if the cache can't be opened.
  engine_target(const files &on, const engine_options &options, std::uint64_t seed);
  ~engine_target() override;

  bytes size() const override { return volatile_[2].size(); }
  void carry_out(std::span<operation> batch) override;

  std::string status() const { return status_line(engine_->status()); }
  // Lets so much time pass without a request, and carries out the background work that comes up.
  void idle(std::chrono::seconds time);
  // Carries out all background work that is under way.
  void settle();
  void clean();
  void message(std::vector<std::string> words);
  void close();
  // Makes carry_out() throw power_cut after so many I/Os from now on.
  void cut_power_after(std::uint64_t nr_ios) { ios_left_ = nr_ios; }

 private:
  std::error_code perform(engine_io &io);
  void collect();
  void perform_one();
  void advance_to(instant then);
  void finish(const std::function<void(control &)> &begin);
  [[noreturn]] void cut_power();

  std::unique_ptr<device> metadata_;
  std::array<volatile_file, 3> volatile_; // by cache_device
  std::mt19937_64 chance_;
  instant now_{};
  std::unique_ptr<cache_engine> engine_;
  std::vector<engine_io *> pending_;
  std::size_t nr_completed_ = 0;
  bool is_finished_ = false; // the control that was begun last is
  std::optional<std::uint64_t> ios_left_;
};

} // namespace dmcache::exerciser
